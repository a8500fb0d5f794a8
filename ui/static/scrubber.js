// The scrubber: event rate, captions, what the models have read, the selected part, the playhead.
// now: what the stage knows of the player. jumped(): the visitor has moved the playhead. Returns {place, draw, select}.
pf.scrubber = (element, now, jumped) => {
  'use strict';
  const bar = element.querySelector('.bar'), canvas = bar.querySelector('canvas'), head = bar.querySelector('.head'), edges = [...bar.querySelectorAll('.edge')];
  const KEPT = 2000, LEAST = 0.05;
  let dragging = '', anchor = 0, rates = [], reads = [], waiting = 0, sending = 0, catching = true;

  const length = () => Math.max(1e-3, now.until - now.from);
  const share = seconds => (seconds - now.from) / length();
  const within = seconds => Math.min(now.until, Math.max(now.from, seconds));
  const under = event => { const box = bar.getBoundingClientRect(); return within(now.from + (event.clientX - box.left) / box.width * length()); };

  // What is drawn

  const draw = pf.lazily(() => {
    const [g, w, h] = pf.fit(canvas), x = seconds => share(seconds) * w;
    if (!(now.until > now.from)) return;
    g.fillStyle = pf.colour('--rate');
    if (now.live) {
      const top = Math.max(1, ...rates.map(rate => rate[1]));
      rates.forEach(([at, rate], i) => { const high = (h - 12) * rate / top, from = x(at); g.fillRect(from, h - high, Math.max(1, x(rates[i + 1]?.[0] ?? at) - from), high); });
    } else {
      const part = w / Math.max(1, now.shares.length);
      now.shares.forEach((height, i) => { const high = (h - 12) * height; g.fillRect(i * part, h - high, Math.max(0.6, part - 0.6), high); });
    }
    g.fillStyle = pf.colour('--bonus');
    for (const [from, until] of reads) if (until > now.from) g.fillRect(Math.max(0, x(from)), h - 3, Math.max(1, x(until) - Math.max(0, x(from))), 3);
    if (now.range) {
      g.globalAlpha = 0.16;
      g.fillRect(x(now.range[0]), 0, x(now.range[1]) - x(now.range[0]), h);
      g.globalAlpha = 1;
    }
    g.fillStyle = pf.colour('--mark');
    for (const mark of now.marks) {
      const m = x(mark.end_s);
      g.beginPath(); g.moveTo(m - 4.5, 0); g.lineTo(m + 4.5, 0); g.lineTo(m, 8); g.fill();
    }
    g.fillStyle = pf.colour('--ink');
    g.fillRect(Math.min(w - 2, Math.max(0, x(now.at) - 1)), 0, 2, h);
  });

  function place() {
    const told = {'aria-valuemin': now.from.toFixed(2), 'aria-valuemax': now.until.toFixed(2), 'aria-valuenow': now.at.toFixed(2), 'aria-valuetext': pf.clock(now.at)};
    for (const [name, value] of Object.entries(told)) head.setAttribute(name, value);
    edges.forEach((edge, i) => {
      edge.hidden = !now.range;
      if (!now.range) return;
      edge.style.left = `${share(now.range[i]) * 100}%`;
      edge.setAttribute('aria-valuemin', now.from.toFixed(2));
      edge.setAttribute('aria-valuemax', now.until.toFixed(2));
      edge.setAttribute('aria-valuenow', now.range[i].toFixed(2));
      edge.setAttribute('aria-valuetext', pf.clock(now.range[i]));
    });
    draw();
  }

  pf.on('source', () => { rates = []; reads = []; });
  pf.on('hello', () => { catching = true; });
  pf.on('play', message => {
    catching = false;
    if (!message.live || !message.following) return;
    rates.push([message.at_s, message.rate_hz]);
    rates = rates.filter(rate => rate[0] >= message.from_s).slice(-KEPT);
  });
  const read = (from, until) => { reads.push([from, until]); reads = reads.slice(-KEPT); draw(); };
  pf.on('mark', message => read(message.start_s, message.end_s));
  pf.on('start', message => { if (!catching && !message.replayed) read(message.start_s, message.end_s); });

  // Moving the playhead and the selected part

  function seek(seconds) {
    now.at = within(seconds);
    jumped();
    place();
    waiting ||= setTimeout(() => { waiting = 0; pf.send('seek', now.at); }, 30);   // a drag is not a flood
  }
  function select(range) {
    if (now.live) return;
    now.range = range && [within(Math.min(...range)), within(Math.max(...range))];
    if (now.range && now.range[1] - now.range[0] < LEAST) now.range = null;
    jumped('range');
    place();
    clearTimeout(sending);
    sending = setTimeout(() => pf.send('range', now.range), 60);
  }
  function pull(edge, seconds) {
    const other = now.range[1 - edge];
    select(edge === 0 ? [Math.min(seconds, other - LEAST), other] : [other, Math.max(seconds, other + LEAST)]);
  }

  const which = event => edges.indexOf(event.target);
  bar.addEventListener('pointerdown', event => {
    if (!(now.until > now.from)) return;
    bar.setPointerCapture(event.pointerId);
    dragging = which(event) >= 0 ? which(event) : event.shiftKey && !now.live ? 'part' : 'playhead';
    anchor = under(event);
    if (dragging === 'playhead') seek(anchor);
  });
  bar.addEventListener('pointermove', event => {
    if (dragging === 'playhead') return seek(under(event));
    if (dragging === 'part') return select([anchor, under(event)]);
    if (dragging !== '') return pull(dragging, under(event));
    const near = now.marks.find(mark => Math.abs(mark.end_s - under(event)) < length() * 0.008);
    bar.title = near ? `${pf.clock(near.end_s)} ${near.text.trim()}` : '';
  });
  for (const kind of ['pointerup', 'pointercancel']) bar.addEventListener(kind, () => { dragging = ''; });
  bar.addEventListener('keydown', event => {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageUp: 10, PageDown: -10}[event.key], edge = which(event);
    const to = event.key === 'Home' ? now.from : event.key === 'End' ? now.until : null;
    if (by === undefined && to === null) return;
    if (edge >= 0) pull(edge, to ?? now.range[edge] + by / 10); else seek(to ?? now.at + by);
    event.preventDefault();
  });
  new ResizeObserver(draw).observe(bar);
  pf.on('theme', draw);
  return {place, draw, seek, select, busy: () => dragging !== ''};
};
