// What runs when: four lanes of work, and one cos_sim point per guessed word on the same time axis.
pf.chart = element => {
  'use strict';
  const canvas = element.querySelector('.chart');
  const LANES = [['prefill', 'RGB model reads'], ['draft_prefill', 'drafter reads'], ['draft', 'drafter guesses'], ['verify', 'RGB model checks']];
  const STEPS = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 600];
  let pointed = null, points = [], adapter = '';

  /** Guessed words of an answer with the moment of their verdict, spread over the check that judged them. */
  function judged(answer) {
    const found = [];
    for (const round of answer.rounds.values()) {
      if (round.k !== 'judged') continue;
      const words = round.words.filter(word => word.cos_sim != null);
      const check = round.work.find(work => work.lane === 'verify');
      const from = check?.start_s ?? 0, to = check?.end_s ?? from;
      words.forEach((word, i) => found.push({word, at: from + (to - from) * (i + 1) / (words.length + 1)}));
    }
    return found;
  }

  function layout(width, height) {
    const narrow = width < 560, left = narrow ? 8 : 124, lane = narrow ? 28 : 19;
    const top = LANES.length * lane + (narrow ? 22 : 10);
    return {narrow, left, right: width - 10, lane, top, bottom: height - 18};
  }

  function lanes(g, box, x, work) {
    LANES.forEach(([name, words], i) => {
      const y = i * box.lane + (box.narrow ? 12 : 0), high = box.narrow ? 13 : box.lane - 4;
      g.fillStyle = pf.colour('--dim');
      g.fillText(words, box.narrow ? box.left : 2, box.narrow ? y - 5 : y + high / 2);
      g.fillStyle = pf.colour('--well');
      g.fillRect(box.left, y, box.right - box.left, high);
      g.fillStyle = pf.colour(`--lane-${name}`);
      for (const piece of work) {
        if (piece.lane !== name) continue;
        g.fillRect(x(piece.start_s), y, Math.max(1.5, x(piece.end_s) - x(piece.start_s) - 0.7), high);
      }
    });
  }

  function scale(g, box, x, end) {
    g.fillStyle = pf.colour('--dim');
    g.textAlign = 'center';
    const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120].find(s => end / s <= (box.right - box.left) / 52) || 300;
    for (let s = 0; s <= end + 1e-6; s += step) {
      g.fillText(s ? `${+s.toFixed(2)} s` : 'question', Math.min(box.right - 12, Math.max(box.left + 24, x(s))), box.bottom + 11);
    }
    g.textAlign = 'left';
  }

  function similarity(g, box, x) {
    const lowest = Math.min(0, ...points.map(point => point.word.cos_sim));
    const y = value => box.bottom - (value - lowest) / (1 - lowest) * (box.bottom - box.top);
    g.lineWidth = 1;
    for (const value of [lowest < 0 ? -1 : null, 0, 0.5, 1]) {
      if (value === null || value < lowest) continue;
      g.strokeStyle = pf.colour('--line');
      g.beginPath(); g.moveTo(box.left, y(value)); g.lineTo(box.right, y(value)); g.stroke();
      g.fillStyle = pf.colour('--dim');
      g.fillText(value.toFixed(1), box.narrow ? box.right - 16 : box.left - 22, y(value) - (box.narrow ? 6 : 0));
    }
    g.fillStyle = pf.colour('--dim');
    g.fillText('cos_sim', box.narrow ? box.left : 2, box.narrow ? box.top - 8 : (box.top + box.bottom) / 2);
    for (const point of points) { point.x = x(point.at); point.y = y(point.word.cos_sim); mark(g, point, point.word.id === pointed?.id); }
  }

  function mark(g, {x, y, word}, big) {
    const r = big ? 5.5 : 3.5, wrong = word.state === 'rejected';
    g.strokeStyle = g.fillStyle = pf.colour(wrong ? '--rejected' : '--accepted');
    g.beginPath();
    if (wrong) { g.lineWidth = big ? 3 : 2; g.moveTo(x - r, y - r); g.lineTo(x + r, y + r); g.moveTo(x - r, y + r); g.lineTo(x + r, y - r); g.stroke(); }
    else { g.arc(x, y, r, 0, 7); g.fill(); }
  }

  function empty(g, box, answer) {
    const words = !answer ? 'Nothing has been said yet.'
      : answer.done && answer.rounds.size ? 'No cos_sim here: this drafter has no hidden state to compare.' : '';
    g.fillStyle = pf.colour('--dim');
    if (words) g.fillText(words, box.left + 8, (box.top + box.bottom) / 2 + 10);
  }

  const draw = pf.lazily(() => {
    const [g, width, height] = pf.fit(canvas), answer = pf.answers.shown(), box = layout(width, height);
    g.font = '11px system-ui, sans-serif';
    g.textBaseline = 'middle';
    const work = answer?.work || [], last = Math.max(0.1, ...work.map(piece => piece.end_s));
    const end = STEPS.find(step => step >= last) || last, x = s => box.left + s / end * (box.right - box.left);
    points = answer ? judged(answer) : [];
    lanes(g, box, x, work);
    scale(g, box, x, end);
    similarity(g, box, x);
    if (!points.length) empty(g, box, answer);
    if (pointed?.checked_s != null) { g.fillStyle = pf.colour('--ink'); g.fillRect(x(pointed.checked_s), 0, 1, box.bottom); }
    canvas.dataset.points = points.length;
  });

  canvas.addEventListener('pointermove', event => {
    const r = canvas.getBoundingClientRect(), px = event.clientX - r.left, py = event.clientY - r.top;
    const near = points.find(point => Math.hypot(point.x - px, point.y - py) < 8);
    if (near) { canvas.title = `${near.word.text.trim()}: ${near.word.state}, cos_sim ${near.word.cos_sim.toFixed(3)}`; pf.emit('pointed', near.word.id); }
  });
  pf.on('point', word => { pointed = word; draw(); });
  pf.on('shown', () => { pointed = null; draw(); });
  for (const kind of ['round', 'ended', 'theme']) pf.on(kind, draw);
  function named() {
    const name = pf.answers.shown()?.done?.cos_adapter ?? adapter;
    element.querySelector('.adapter').textContent = name ? ` (adapter ${name})` : '';
  }
  pf.on('hello', message => { adapter = message.cos_adapter; named(); });
  for (const kind of ['shown', 'ended']) pf.on(kind, named);
  new ResizeObserver(draw).observe(canvas);
  draw();
};
