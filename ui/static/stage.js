// The stage: event view, RGB view, caption and playback controls; the scrubber has a file of its own.
pf.stage = element => {
  'use strict';
  const q = selector => element.querySelector(selector);
  const views = {1: q('[data-kind="1"]'), 2: q('[data-kind="2"]')};
  // background, brighter, darker: as ui/render.py has them
  const COLOURS = {'dark': ['#1E2534', '#FFFFFF', '#5BA3F0'], 'light': ['#FFFFFF', '#2F6FC4', '#1E2534'],
                   'orange-blue': ['#1E1E1E', '#E69F00', '#56B4E9'], 'grey': ['#808080', '#FFFFFF', '#000000']};
  const now = {at: 0, from: 0, until: 0, playing: false, live: false, shares: [], marks: [], range: null, captions: true};
  let source = null, problem = '', colours = COLOURS.dark, over = false, shown = [];

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
    const context = target.getContext('2d');
    if (kind === 1 && !(over && source.frame_size)) { context.fillStyle = colours[0]; context.fillRect(0, 0, target.width, target.height); }
    else context.clearRect(0, 0, target.width, target.height);
    context.drawImage(bitmap, 0, 0);
    view.dataset.painted = at;
    if (kind === 1 || !source.event_size) shown = [...shown.filter(when => when > performance.now() - 1000), performance.now()];
    if (!(problem && kind === 1)) veil(kind);
    if (kind === 1 && !scrubber.busy() && (settled('seek') || Math.abs(at - now.at) < 0.5)) { now.at = at; place(); }
  });

  // Source

  pf.on('loading', message => {
    const words = `Opening ${message.name}…` + (message.share === null ? '' : ` ${Math.round(100 * message.share)} %`);
    if (!source) veilBoth(words, '', true);
    else veil(1, words, `${source.name} stays open until then.`, true);
  });
  pf.on('failed', message => {
    if (!message.kept) veilBoth(`Cannot open ${message.name}`, 'Choose another source above.'); else veil(1);
    q('.failure').hidden = false;
    q('.failure span').textContent = `${message.name} did not open: ${message.reason.replace(/\.$/, '')}.${message.kept ? ` ${message.kept} stays open.` : ''}`;
  });
  q('.failure button').addEventListener('click', () => { q('.failure').hidden = true; });
  pf.on('loading', () => { q('.failure').hidden = true; });
  pf.on('source', message => {
    q('.failure').hidden = true;
    source = message;
    newest = null;
    Object.assign(now, {at: 0, from: 0, until: message.duration_s || 0, shares: [], marks: [], range: null, live: message.live});
    problem = '';
    const origin = (kind, words) => { views[kind].querySelector('.origin').textContent = words || 'none'; };
    origin(1, message.events_origin);
    origin(2, message.frames_origin);
    veil(1, message.event_size ? 'Waiting for events…' : 'No events', message.event_size ? '' : 'This source has frames only.', !!message.event_size);
    veil(2, message.frame_size ? 'Waiting for frames…' : 'No RGB frames', message.frame_size ? '' : 'This source has events only, so the RGB model has nothing to check with.', !!message.frame_size);
    views[1].style.aspectRatio = (message.event_size || '4x3').replace('x', '/');
    views[2].style.aspectRatio = (message.frame_size || message.event_size || '4x3').replace('x', '/');
    element.querySelector('.stage').classList.toggle('live', message.live);
    arrange();
    parted();
    caption();
    place();
  });
  pf.on('histogram', message => { now.shares = message.shares; scrubber.draw(); });

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
    Object.assign(now, {playing: message.playing, live: message.live, from: message.from_s, until: message.until_s, captions: message.captions});
    if (!scrubber.busy() && settled('seek')) now.at = message.at_s;
    if (!scrubber.busy() && settled('range')) now.range = message.range_s;
    if (settled('loop')) q('.loop').checked = message.loop;
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
    const late = message.until_s - message.at_s;
    q('.following').textContent = message.following ? '● live, following' : `${late.toFixed(1)} s behind: go live`;
    q('.following').classList.toggle('late', !message.following);
    q('.health').textContent = health(message);
    parted();
    caption();
    place();
  }
  function health(message) {
    const words = [];
    const delay = message.lag_ms ?? message.delay_ms;
    if (delay !== null) words.push(`delay ${delay} ms`);
    const fresh = shown.filter(when => when > performance.now() - 1000).length;
    if (message.playing && fresh) words.push(`${fresh} pictures/s`);
    if (message.live && !message.dropped && !message.others_dropped) words.push('no event dropped');
    const held = message.filters.reduce((sum, [, came, went]) => sum + came - went, 0);
    if (held) words.push(`${plenty(held)} events held back by filters`);
    if (message.skew) words.push(message.skew);
    return words.join(' · ');
  }
  function losses(message) {
    const lost = [];
    if (message.dropped) lost.push(`${plenty(message.dropped)} events dropped`);
    if (message.others_dropped) lost.push(`${plenty(message.others_dropped)} frames or samples dropped`);
    if (message.late) lost.push(`${plenty(message.late)} packets or frames out of order`);
    if (message.rejected) lost.push(`${plenty(message.rejected)} events refused as damaged`);
    if (message.gaps) lost.push(`away ${message.gaps} ${message.gaps === 1 ? 'time' : 'times'}, came back`);
    if (message.error || message.damage) lost.push(message.error || message.damage);
    else if (message.outage) lost.push(message.outage);
    q('.loss').textContent = lost.join(' · ');
  }

  // The object that a word is about, where it stood at the end of the second that was asked about. The event view
  // shows it only where both views have one geometry, and not in space and time.

  function outline(word) {
    for (const kind of [1, 2]) {
      const frame = views[kind].querySelector('.outline'), canvas = views[kind].querySelector('canvas');
      const flat = source?.event_size === source?.frame_size && q('.style').value !== 'points';
      const box = kind === 2 || flat ? word?.box : null;
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
    scrubber.draw();
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

  // Scrubber and the selected part

  const scrubber = pf.scrubber(element, now, (what = 'seek') => { touch(what); if (what === 'seek') caption(); else parted(); });
  function place() {
    const precise = Number(q('.speed').value) < 0.5 ? 3 : 1;
    q('.time').textContent = now.live ? pf.clock(now.at, precise) : `${pf.clock(now.at, precise)} / ${pf.clock(now.until)}`;
    scrubber.place();
  }
  function parted() {
    q('.parted').hidden = !now.range;
    q('.part').setAttribute('aria-pressed', !!now.range);
    if (now.range) q('.span').textContent = `${pf.clock(now.range[0])} – ${pf.clock(now.range[1])}`;
  }
  q('.part').addEventListener('click', () => {
    const width = Math.min(2, (now.until - now.from) / 4), from = Math.min(now.at, now.until - width);
    scrubber.select(now.range ? null : [from, from + width]);
  });
  q('.whole').addEventListener('click', () => { scrubber.select(null); q('.part').focus(); });
  q('.loop').addEventListener('change', event => { touch('loop'); pf.send('loop', event.target.checked); });

  // Controls

  q('.play').addEventListener('click', () => pf.send('toggle'));
  q('.following').addEventListener('click', () => pf.send('follow'));
  const move = (kind, by) => { delete touched.seek; pf.send(kind, by); };
  q('.back').addEventListener('click', () => move('step', -1));
  q('.forth').addEventListener('click', () => move('step', 1));
  for (const [name, value] of [['speed', node => +node.value], ['captions', node => node.checked]]) {
    q(`.${name}`).addEventListener('change', event => { touch(name); pf.send(name, value(event.target)); });
  }
  q('.palette').addEventListener('change', event => { pf.send('palette', event.target.value); paint(event.target.value); });
  q('.style').addEventListener('change', event => { pf.send('style', event.target.value); covers(); });
  q('.accumulation').addEventListener('input', event => { pf.send('accumulation', +event.target.value); covers(); });
  q('.layout').addEventListener('change', event => { pf.send('layout', event.target.checked ? 'over' : 'beside'); arrange(); });
  let lost = JSON.parse(sessionStorage.getItem('pf-lost'));
  sessionStorage.removeItem('pf-lost');
  /** A new session of this page: the looks and the source go back to where they were. */
  function restore() {
    for (const name of ['palette', 'style']) pf.send(name, q(`.${name}`).value);
    pf.send('accumulation', +q('.accumulation').value);
    pf.send('layout', q('.layout').checked ? 'over' : 'beside');
    pf.send('captions', q('.captions').checked);
    pf.send('open', {kind: 'recording', name: lost.name});
  }
  pf.on('source', message => {
    if (lost?.name !== message.name) return;
    if (!lost.live) pf.send('seek', lost.at);
    lost = null;
    sessionStorage.removeItem('pf-lost');
  });
  pf.on('failed', () => { lost = null; });
  pf.on('hello', message => {
    if (lost) return restore();
    for (const name of ['palette', 'style']) q(`.${name}`).value = message[name];
    q('.accumulation').value = message.accumulation_ms;
    q('.layout').checked = message.layout === 'over';
    covers();
    paint(message.palette);
    arrange();
  });
  function covers() {
    // points look back over five spans (render.DEEP)
    const style = q('.style').value, ms = Number(q('.accumulation').value);
    q('output').textContent = style === 'points' ? `last ${5 * ms} ms`
      : `${['decay', 'surface'].includes(style) ? 'fades over' : 'last'} ${ms} ms`;
  }
  function paint(name) {
    colours = COLOURS[name];
    q('.sw.on').style.background = colours[1];
    q('.sw.off').style.background = colours[2];
  }
  /** Beside or over each other; over only where both views have one geometry. */
  function arrange() {
    const same = !source || (source.event_size && source.event_size === source.frame_size);
    over = q('.layout').checked && !!same;
    q('.layout').disabled = !same;
    q('.overlaid').title = same ? 'Both cameras look through one lens here, so their pictures fit over each other.'
      : 'Only where both views have one geometry; this source has two cameras side by side, or one kind of picture.';
    q('.views').classList.toggle('over', over);
  }

  document.addEventListener('keydown', event => {
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key;
    if (key === ' ' && !event.target.closest('button, [role="button"]')) pf.send('toggle');
    else if (key === ',' || key === '.') move('step', key === ',' ? -1 : 1);
    else if (key === 'j' || key === 'l') move('skip', key === 'j' ? -5 : 5);
    else if (key === 'i' || key === 'o') edge(key === 'i');
    else if (key === 'r' && now.range) q('.loop').click();
    else if (key === 'g' && now.live) pf.send('follow');
    else if (key === '/') document.querySelector('#ask textarea, #ask input')?.focus();
    else return;
    event.preventDefault();
  });

  /** Start or end of the selected part, at the playhead. */
  function edge(start) {
    const [from, until] = now.range || [now.from, now.until];
    scrubber.select(start ? [now.at, until > now.at ? until : now.until] : [from < now.at ? from : now.from, now.at]);
  }

  pf.on('conn', state => {
    element.querySelector('.stage').classList.toggle('lost', state !== 'open');
    if (state === 'gone' && source) sessionStorage.setItem('pf-lost', JSON.stringify(lost = {name: source.name, live: source.live, at: now.at}));
    if (state === 'open') { if (!source) veilBoth('Connecting…', '', true); return; }
    const words = {lost: ['The program does not answer', 'Trying again by itself…', true],
                   gone: ['The program does not know this page any more', 'Getting back to where you were…', true],
                   replaced: ['This page is open elsewhere', 'Reload this page to go on here.']}[state];
    veilBoth(...words);
  });
  place();
};
