// The stage: event view, RGB view, caption, scrubber and playback controls.
pf.stage = element => {
  'use strict';
  const q = selector => element.querySelector(selector);
  const views = {1: q('[data-kind="1"]'), 2: q('[data-kind="2"]')};
  const bar = q('.bar'), canvas = bar.querySelector('canvas');
  const ON = {'dark': '#FFFFFF', 'light': '#2F6FC4', 'orange-blue': '#E69F00', 'grey': '#FFFFFF'};
  const OFF = {'dark': '#5BA3F0', 'light': '#1E2534', 'orange-blue': '#56B4E9', 'grey': '#000000'};
  const now = {at: 0, duration: 0, playing: false, live: false, shares: [], marks: [], captions: true};
  let source = null, dragging = false, problem = '';

  function veil(kind, title, text = '', busy = false) {
    const node = views[kind].querySelector('.veil');
    node.hidden = !title;
    node.classList.toggle('busy', busy);
    node.children[0].textContent = title || '';
    node.children[1].textContent = text;
  }
  const veilBoth = (...words) => [1, 2].forEach(kind => veil(kind, ...words));

  pf.on('picture', ({kind, at, bitmap}) => {
    if (!source?.[kind === 1 ? 'event_size' : 'frame_size']) return;   // a late picture of the source before
    const view = views[kind], target = view.querySelector('canvas');
    if (target.width !== bitmap.width || target.height !== bitmap.height) {
      target.width = bitmap.width; target.height = bitmap.height;
    }
    target.getContext('2d').drawImage(bitmap, 0, 0);
    view.dataset.painted = at;
    if (!(problem && kind === 1)) veil(kind);
    if (kind === 1 && !dragging && (settled('seek') || Math.abs(at - now.at) < 0.5)) { now.at = at; place(); }
  });

  // Source

  pf.on('loading', message => {
    if (!source) veilBoth(`Opening ${message.name}…`, '', true);
    else veil(1, `Opening ${message.name}…`, `${source.name} stays open until then.`, true);
  });
  pf.on('failed', message => {
    if (!message.kept) return veilBoth(`Cannot open ${message.name}`, `${message.reason}. Choose another recording above.`);
    veil(1);
  });
  pf.on('source', message => {
    source = message;
    newest = null;
    Object.assign(now, {at: 0, shares: [], marks: [], live: message.live, duration: message.duration_s || 0});
    problem = '';
    const origin = (kind, words) => { views[kind].querySelector('.origin').textContent = words || 'none'; };
    origin(1, message.events_origin);
    origin(2, message.frames_origin);
    veil(1, message.event_size ? 'Waiting for events…' : 'No events', message.event_size ? '' : 'This source has frames only.', !!message.event_size);
    veil(2, message.frame_size ? 'Waiting for frames…' : 'No RGB frames', message.frame_size ? '' : 'This source has events only, so the RGB model has nothing to check with.', !!message.frame_size);
    views[1].style.aspectRatio = (message.event_size || '4x3').replace('x', '/');
    views[2].style.aspectRatio = (message.frame_size || message.event_size || '4x3').replace('x', '/');
    const sizes = [message.event_size, message.frame_size].filter((size, i, all) => size && all.indexOf(size) === i);
    const listed = document.querySelector('#recording input')?.value === message.name;
    const about = [listed ? '' : message.name, message.live ? 'live' : 'recording', sizes.join(' / '), message.sensor];
    for (const node of document.querySelectorAll('.source')) node.textContent = node.title = about.filter(Boolean).join(' · ');
    element.querySelector('.stage').classList.toggle('live', message.live);
    caption();
    place();
  });
  pf.on('histogram', message => { now.shares = message.shares; draw(); });

  // State of the player; what the visitor has just set is not overwritten by a state that was on its way

  const touched = {}, settled = name => performance.now() - (touched[name] ?? -1e9) > 700;
  let newest = null, later = 0;
  function touch(name) {
    touched[name] = performance.now();
    clearTimeout(later);
    later = setTimeout(() => newest && obey(newest), 750);
  }

  const plenty = number => number >= 1e6 ? `${(number / 1e6).toFixed(1)} M` : number >= 1e4 ? `${Math.round(number / 1e3)} k` : `${Math.round(number)}`;
  pf.on('play', message => { newest = message; obey(message); });
  function obey(message) {
    Object.assign(now, {playing: message.playing, live: message.live, duration: message.duration_s || 0, captions: message.captions});
    if (!dragging && settled('seek')) now.at = message.at_s;
    q('.rate').textContent = source?.event_size ? `${plenty(message.rate_hz)} events/s` : '';
    if (settled('speed')) q('.speed').value = String(message.speed);
    if (settled('captions')) q('.captions').checked = message.captions;
    q('.behind').textContent = message.unread ? `model is behind: ${message.unread} ${message.unread === 1 ? 'window' : 'windows'} not read` : '';
    q('.behind').title = 'Playback does not wait for the models: windows that went by while they were busy were read by no model.';
    losses(message);
    const stopped = message.error && !message.playing ? message.error : '';
    if (stopped !== problem) { problem = stopped; veil(1, stopped && 'The source stopped', stopped); }
    q('.play').textContent = message.playing ? '❚❚' : message.ended ? '↻' : '▶';
    q('.play').setAttribute('aria-label', message.playing ? 'Pause' : message.ended ? 'Play again' : 'Play');
    q('.following').textContent = message.playing ? '● live, following' : 'paused, the camera runs on';
    caption();
    place();
  }
  function losses(message) {
    const lost = [];
    if (message.dropped) lost.push(`${plenty(message.dropped)} events dropped`);
    if (message.rejected) lost.push(`${plenty(message.rejected)} events refused as damaged`);
    if (message.error || message.damage) lost.push(message.error || message.damage);
    q('.loss').textContent = lost.join(' · ');
  }

  // The object that a word is about, where it stood at the end of the second that was asked about. The event view
  // shows it only where both views have one geometry.

  function outline(word) {
    for (const kind of [1, 2]) {
      const frame = views[kind].querySelector('.outline'), canvas = views[kind].querySelector('canvas');
      const box = kind === 2 || source?.event_size === source?.frame_size ? word?.box : null;
      frame.hidden = !box;
      if (!box) continue;
      const scale = Math.min(canvas.clientWidth / canvas.width, canvas.clientHeight / canvas.height);
      const width = canvas.width * scale, height = canvas.height * scale;
      const left = (canvas.clientWidth - width) / 2, top = (canvas.clientHeight - height) / 2;
      Object.assign(frame.style, {left: `${left + box[0] * width}px`, top: `${top + box[1] * height}px`,
                                  width: `${(box[2] - box[0]) * width}px`, height: `${(box[3] - box[1]) * height}px`});
    }
  }
  pf.on('point', outline);
  for (const kind of ['unpoint', 'source', 'shown']) pf.on(kind, () => outline(null));

  // Captions

  pf.on('mark', message => {
    now.marks = now.marks.filter(mark => Math.abs(mark.end_s - message.end_s) >= 1);
    now.marks.push(message);
    now.marks.sort((a, b) => a.end_s - b.end_s);
    caption();
    draw();
  });
  let asked = '', failure = '';
  pf.on('start', message => {
    if (message.who === 'caption') asked = message.id;
    views[1].querySelector('.use').textContent = message.drafter === 'none' ? 'nobody guesses (drafter: none)'
      : /\bvlm\b/.test(message.drafter) ? 'the event model guesses from this' : `guesses come from: ${message.drafter}`;
  });
  pf.on('done', message => { if (message.id === asked) { failure = message.error || ''; caption(); } });
  const trouble = () => !source.frame_size ? 'No captions: this source has no RGB frames for the RGB model to check with.'
    : failure ? `No caption: ${failure}.` : '';
  function caption() {
    const silent = !now.captions ? 'Captions are off.' : !source ? '' : trouble()
      || (now.marks.length ? '' : 'The first caption comes after one second…');
    const last = now.marks.filter(mark => mark.end_s <= now.at + 0.05).at(-1);
    const text = last ? last.text.trim() : silent;
    if (q('.said').textContent !== text) q('.said').textContent = text;
    q('.said').classList.toggle('dim', !last);
    q('.when').textContent = last ? pf.clock(last.end_s) : '';
  }

  // Scrubber

  function place() {
    q('.time').textContent = now.live ? pf.clock(now.at) : `${pf.clock(now.at)} / ${pf.clock(now.duration)}`;
    bar.setAttribute('aria-valuenow', now.at.toFixed(2));
    bar.setAttribute('aria-valuemax', now.duration.toFixed(2));
    bar.setAttribute('aria-valuetext', pf.clock(now.at));
    draw();
  }
  const draw = pf.lazily(() => {
    const [g, w, h] = pf.fit(canvas);
    if (now.live || !now.duration) return;
    const x = seconds => seconds / now.duration * w, part = w / Math.max(1, now.shares.length);
    g.fillStyle = pf.colour('--rate');
    now.shares.forEach((share, i) => { const high = (h - 12) * share; g.fillRect(i * part, h - high, Math.max(0.6, part - 0.6), high); });
    g.fillStyle = pf.colour('--mark');
    for (const mark of now.marks) {
      const m = x(mark.end_s);
      g.beginPath(); g.moveTo(m - 4.5, 0); g.lineTo(m + 4.5, 0); g.lineTo(m, 8); g.fill();
    }
    g.fillStyle = pf.colour('--ink');
    g.fillRect(x(now.at) - 1, 0, 2, h);
  });
  let waiting = 0;
  function seek(seconds) {
    now.at = Math.min(now.duration, Math.max(0, seconds));
    touch('seek');
    caption();
    place();
    waiting ||= setTimeout(() => { waiting = 0; pf.send('seek', now.at); }, 50);   // a drag is not a flood
  }
  const under = event => { const box = bar.getBoundingClientRect(); return (event.clientX - box.left) / box.width * now.duration; };
  bar.addEventListener('pointerdown', event => { if (now.live) return; dragging = true; bar.setPointerCapture(event.pointerId); seek(under(event)); });
  bar.addEventListener('pointermove', event => {
    if (dragging) return seek(under(event));
    const near = now.marks.find(mark => Math.abs(mark.end_s - under(event)) < now.duration * 0.008);
    bar.title = near ? `${pf.clock(near.end_s)} ${near.text.trim()}` : '';
  });
  for (const kind of ['pointerup', 'pointercancel']) bar.addEventListener(kind, () => { dragging = false; });
  bar.addEventListener('keydown', event => {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: 10, PageDown: -10}[event.key];
    if (by) seek(now.at + by); else if (event.key === 'Home') seek(0); else if (event.key === 'End') seek(now.duration); else return;
    event.preventDefault();
  });

  // Controls

  q('.play').addEventListener('click', () => pf.send('toggle'));
  const move = (kind, by) => { delete touched.seek; pf.send(kind, by); };
  q('.back').addEventListener('click', () => move('step', -1));
  q('.forth').addEventListener('click', () => move('step', 1));
  for (const [name, value] of [['speed', node => +node.value], ['captions', node => node.checked]]) {
    q(`.${name}`).addEventListener('change', event => { touch(name); pf.send(name, value(event.target)); });
  }
  q('.palette').addEventListener('change', event => { pf.send('palette', event.target.value); swatches(event.target.value); });
  q('.accumulation').addEventListener('input', event => { q('output').textContent = `last ${event.target.value} ms`; pf.send('accumulation', +event.target.value); });
  pf.on('hello', message => {
    q('.palette').value = message.palette;
    q('.accumulation').value = message.accumulation_ms;
    q('output').textContent = `last ${message.accumulation_ms} ms`;
    swatches(message.palette);
  });
  function swatches(name) { q('.sw.on').style.background = ON[name]; q('.sw.off').style.background = OFF[name]; }

  document.addEventListener('keydown', event => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key;
    if (key === ' ' && !event.target.closest('button, [role="button"]')) pf.send('toggle');
    else if (key === ',' || key === '.') move('step', key === ',' ? -1 : 1);
    else if (key === 'j' || key === 'l') move('skip', key === 'j' ? -5 : 5);
    else if (key === '/') document.querySelector('#ask textarea, #ask input')?.focus();
    else return;
    event.preventDefault();
  });

  pf.on('conn', state => {
    element.querySelector('.stage').classList.toggle('lost', state !== 'open');
    if (state === 'open') { if (!source) veilBoth('Connecting…', '', true); return; }
    const words = {lost: ['The program does not answer', 'Trying again by itself…', true],
                   gone: ['The program was started again', 'Reload this page to go on.'],
                   replaced: ['This page is open elsewhere', 'Reload this page to go on here.']}[state];
    veilBoth(...words);
  });
  new ResizeObserver(draw).observe(bar);
  pf.on('theme', draw);
  place();
};
