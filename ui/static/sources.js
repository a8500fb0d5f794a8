// The sources: what there is to choose from, uploads with progress, the webcam of this browser.
pf.sources = element => {
  'use strict';
  const q = selector => element.querySelector(selector), kinds = [...element.querySelectorAll('[name="pf-kind"]')];
  const FPS = 25, WIDTH = 346, MOST = 2;
  let limit = 0, upload = null, film = null, kept = '';

  const size = bytes => bytes >= 1e9 ? `${(bytes / 2 ** 30).toFixed(0)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
  function show(kind) {
    for (const radio of kinds) radio.checked = radio.value === kind;
    for (const choice of element.querySelectorAll('.choice')) choice.hidden = choice.dataset.kind !== kind;
    if (kind === 'camera') look();
  }
  for (const radio of kinds) radio.addEventListener('change', () => show(radio.value));
  const open = (kind, name) => pf.send('open', {kind, name});

  function options(select, names, first = '') {
    select.replaceChildren(...[...(first ? [first] : []), ...names].map(name => new Option(name, name === first ? '' : name)));
  }

  pf.on('offers', message => {
    limit = message.upload_bytes;
    q('.limit').textContent = size(limit);
    q('.net').hidden = !message.network;
    q('.web').hidden = !message.webcam;
    options(q('.recordings'), message.recordings, 'choose a recording…');
    listed();
  });
  pf.on('source', message => {
    kept = message.name;
    const sizes = [message.event_size, message.frame_size].filter((size, i, all) => size && all.indexOf(size) === i);
    const about = [message.name, message.live ? 'live' : 'recording', sizes.join(' / '), message.sensor];
    q('.source').textContent = q('.source').title = about.filter(Boolean).join(' · ');
    listed();
  });
  pf.on('failed', listed);
  /** The list shows what is really open. */
  function listed() {
    const list = q('.recordings');
    list.value = [...list.options].some(option => option.value === kept) ? kept : '';
  }
  q('.recordings').addEventListener('change', event => { if (event.target.value) open('recording', event.target.value); });

  // Files

  q('.pick').addEventListener('click', () => q('.file').click());
  q('.file').addEventListener('change', event => { if (event.target.files[0]) bring(event.target.files[0]); event.target.value = ''; });
  q('.cancel').addEventListener('click', () => upload?.abort());
  function failed(name, reason) { pf.emit('failed', {name, reason, kept}); }
  function bring(file) {
    show('file');
    if (file.size > limit) return failed(file.name, `it has ${size(file.size)}, at most ${size(limit)} are taken`);
    upload?.abort();
    const request = upload = new XMLHttpRequest();
    const over = () => { if (upload === request) { upload = null; q('.sending').hidden = true; q('.pick').disabled = false; } };
    request.open('POST', `/bring?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader('parafovea-token', pf.token() || '');
    request.upload.onprogress = event => {
      q('.sending progress').value = event.total ? event.loaded / event.total : 0;
      q('.sent').textContent = event.loaded < event.total ? `${size(event.loaded)} of ${size(event.total)}` : 'reading…';
    };
    // a file that does not open is told over the live channel as well, by the program
    request.onload = () => { over(); if ([403, 413].includes(request.status)) failed(file.name, JSON.parse(request.responseText).reason); };
    request.onerror = () => { over(); failed(file.name, 'the connection broke off; try again'); };
    request.onabort = over;
    q('.sending').hidden = false;
    q('.sent').textContent = '';
    q('.pick').disabled = true;
    request.send(file);
  }
  const carries = event => [...(event.dataTransfer?.types || [])].includes('Files');
  const stage = () => document.querySelector('.pf.stage');
  document.addEventListener('dragover', event => { if (carries(event)) { event.preventDefault(); stage()?.classList.add('dropping'); } });
  document.addEventListener('dragleave', event => { if (!event.relatedTarget) stage()?.classList.remove('dropping'); });
  document.addEventListener('drop', event => {
    if (!carries(event)) return;
    event.preventDefault();
    stage()?.classList.remove('dropping');
    if (event.dataTransfer.files[0]) bring(event.dataTransfer.files[0]);
  });

  // Cameras and streams

  function look() {
    q('.found').textContent = 'looking for cameras…';
    q('.refresh').disabled = true;
    pf.send('cameras');
  }
  q('.refresh').addEventListener('click', look);
  q('.connect').addEventListener('click', () => open('camera', q('.cameras').value));
  pf.on('cameras', message => {
    const some = message.names.length > 0;
    q('.refresh').disabled = false;
    options(q('.cameras'), message.names);
    for (const name of ['.cameras', '.connect']) q(name).hidden = !some;
    q('.found').textContent = message.reason || (some ? '' : 'none is plugged in');
  });
  q('[data-kind="network"]').addEventListener('submit', event => { event.preventDefault(); open('network', q('.address').value.trim()); });

  // The webcam: pictures go out over a socket of their own, at most MOST without an acknowledgement

  q('.webcam').addEventListener('click', () => film ? stop() : start());
  async function start() {
    if (!navigator.mediaDevices) return failed('webcam', 'a browser gives its camera only to pages of this machine or over https');
    q('.webcam').disabled = true;
    try {
      const media = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}, frameRate: {ideal: 30}}});
      film = {media, video: document.createElement('video'), canvas: document.createElement('canvas'), away: 0};
      Object.assign(film.video, {srcObject: media, muted: true, playsInline: true});
      await film.video.play();
    } catch (error) {
      stop();
      return failed('webcam', error.name === 'NotAllowedError' ? 'the browser was told not to give the camera; allow it in the address line'
        : error.name === 'NotFoundError' ? 'this device has no camera' : `the camera does not start (${error.message})`);
    } finally { q('.webcam').disabled = false; }
    const mine = film, scheme = location.protocol === 'https:' ? 'wss://' : 'ws://';
    mine.socket = new WebSocket(`${scheme}${location.host}/webcam?token=${encodeURIComponent(pf.token())}`);
    mine.socket.onmessage = () => { mine.away--; };
    mine.socket.onclose = () => { if (film === mine) stop(); };
    mine.canvas.width = Math.min(WIDTH, mine.video.videoWidth);
    mine.canvas.height = Math.round(mine.canvas.width * mine.video.videoHeight / mine.video.videoWidth);
    mine.timer = setInterval(() => send(mine), 1000 / FPS);
    said(true);
  }
  function send(mine) {
    if (mine.socket.readyState !== 1 || mine.away >= MOST) return;
    mine.away++;
    mine.canvas.getContext('2d').drawImage(mine.video, 0, 0, mine.canvas.width, mine.canvas.height);
    mine.canvas.toBlob(blob => { if (blob && mine.socket.readyState === 1) mine.socket.send(blob); else mine.away--; }, 'image/jpeg', 0.85);
  }
  function stop() {
    const mine = film;
    film = null;
    if (mine) {
      clearInterval(mine.timer);
      mine.media.getTracks().forEach(track => track.stop());
      mine.socket?.close();
    }
    said(false);
  }
  function said(on) {
    q('.webcam').setAttribute('aria-pressed', on);
    q('.webcam').textContent = on ? 'Stop filming' : 'Start';
  }
  pf.on('conn', state => { if (state !== 'open' && film) stop(); });
};
