// What runs when: lanes of work, one cos_sim point per guessed word on the same time axis, and beside the points how
// often guesses with that cos_sim were accepted.
pf.chart = element => {
  'use strict';
  const canvas = element.querySelector('.chart');
  const LANES = [['events', 'events come in'], ['draft_prefill', 'event model reads'], ['draft', 'drafter guesses'], ['prefill', 'RGB model reads'], ['verify', 'RGB model checks']];
  const STEPS = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 600];
  const counts = new Map(), curves = new Map();
  let pointed = null, points = [], adapter = '', bins = [];

  const named = () => pf.answers.shown()?.drafter;

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
    const narrow = width < 400, names = narrow ? 8 : 112, lane = narrow ? 28 : 19, beside = narrow ? 84 : 110;
    const top = LANES.length * lane + (narrow ? 24 : 12), stub = narrow ? 44 : 58;
    return {narrow, names, left: names + stub + 6, stub, right: width - beside - 14, edge: width - 8, lane, top, bottom: height - 18};
  }

  function lanes(g, box, x, answer, work) {
    const rates = [...(answer?.rates_hz || []), ...work.filter(piece => piece.lane === 'events').map(piece => piece.amount || 0)];
    const most = Math.max(1, ...rates);
    LANES.forEach(([name, words], i) => {
      const y = i * box.lane + (box.narrow ? 12 : 0), high = box.narrow ? 13 : box.lane - 4;
      g.fillStyle = pf.colour('--dim');
      const who = name === 'draft_prefill' && answer && !/\bvlm\b|adapter|mix/.test(answer.drafter) ? 'drafter reads' : words;
      g.fillText(who, box.narrow ? box.names : 2, box.narrow ? y - 5 : y + high / 2);
      g.fillStyle = pf.colour('--well');
      g.fillRect(box.left, y, box.edge - box.left, high);
      if (name === 'events') g.fillRect(box.names, y, box.stub, high);
      g.fillStyle = pf.colour(`--lane-${name}`);
      if (name === 'events') stub(g, box, y, high, answer?.rates_hz || [], most);
      for (const piece of work) {
        if (piece.lane !== name) continue;
        const tall = piece.amount == null ? high : Math.max(1, high * piece.amount / most);
        g.fillRect(x(piece.start_s), y + high - tall, Math.max(1.5, x(piece.end_s) - x(piece.start_s) - 0.7), tall);
      }
    });
  }

  /** The window that was asked about lies before the question; it has a scale of its own. */
  function stub(g, box, y, high, rates, most) {
    const part = box.stub / Math.max(1, rates.length);
    rates.forEach((rate, i) => { const tall = high * rate / most; g.fillRect(box.names + i * part, y + high - tall, Math.max(0.8, part - 0.6), tall); });
  }

  function scale(g, box, x, end, answer) {
    g.fillStyle = pf.colour('--dim');
    g.textAlign = 'center';
    const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120].find(s => end / s <= (box.edge - box.left) / 64) || 300;
    for (let s = 0; s <= end + 1e-6; s += step) {
      const words = s ? `${+s.toFixed(2)} s` : 'question', half = g.measureText(words).width / 2;
      g.fillText(words, Math.min(box.edge - half, Math.max(box.left + half - 8, x(s))), box.top - 4);
    }
    if (answer) g.fillText(`${+(answer.end_s - answer.start_s).toFixed(1)} s before`, box.names + box.stub / 2 - 8, box.top - 4, box.stub);
    g.textAlign = 'left';
  }

  function similarity(g, box, x) {
    const lowest = floor(), top = box.top + (box.narrow ? 28 : 18), y = value => box.bottom - (value - lowest) / (1 - lowest) * (box.bottom - top);
    g.lineWidth = 1;
    for (const value of [lowest, (1 + lowest) / 2, 1]) {
      g.strokeStyle = pf.colour('--line');
      g.beginPath(); g.moveTo(box.left, y(value)); g.lineTo(box.edge, y(value)); g.stroke();
      g.fillStyle = pf.colour('--dim');
      g.fillText(value.toFixed(2), box.left - 26, y(value));
    }
    g.fillStyle = pf.colour('--dim');
    g.fillText('cos_sim', box.narrow ? box.names : 2, box.narrow ? box.top + 12 : (top + box.bottom) / 2);
    g.save(); g.beginPath(); g.rect(box.left - 6, top - 8, box.right - box.left + 12, box.bottom - top + 16); g.clip();
    const shrink = (box.right - box.left) / (box.edge - box.left);
    for (const point of points) { point.x = box.left + (x(point.at) - box.left) * shrink; point.y = y(point.word.cos_sim); mark(g, point, point.word.id === pointed?.id); }
    g.restore();
    acceptance(g, box, y, lowest);
  }

  /** Where the axis of cos_sim begins: below everything that is shown, at 0.5 or less. */
  function floor() {
    const total = counts.get(named())?.total || [], first = total.findIndex(n => n > 0);
    const low = Math.min(0.5, ...points.map(point => point.word.cos_sim), first < 0 ? 0.5 : first / total.length);
    return Math.floor(low * 10) / 10;
  }
  function mark(g, {x, y, word}, big) {
    const r = big ? 5.5 : 3.5, wrong = word.state === 'rejected';
    g.strokeStyle = g.fillStyle = pf.colour(wrong ? '--rejected' : '--accepted');
    g.beginPath();
    if (wrong) { g.lineWidth = big ? 3 : 2; g.moveTo(x - r, y - r); g.lineTo(x + r, y + r); g.moveTo(x - r, y + r); g.lineTo(x + r, y - r); g.stroke(); }
    else { g.arc(x, y, r, 0, 7); g.fill(); }
  }

  /** P(accepted | cos_sim): a bar to the right per bin of cos_sim, pale where few guesses were counted. */
  function acceptance(g, box, y, lowest) {
    const left = box.right + 16, wide = box.edge - left, message = counts.get(named()), curve = curves.get(named());
    const n = message?.total.length || 0;
    g.fillStyle = pf.colour('--dim');
    g.textAlign = 'right';
    g.fillText('P(accepted | cos_sim)', box.edge, box.top + (box.narrow ? 14 : 8));
    g.textAlign = 'center';
    g.fillText('0', left, box.bottom + 11); g.fillText('100 %', box.edge - 16, box.bottom + 11);
    g.textAlign = 'left';
    bins = [];
    for (let i = 0; i < n; i++) {
      const total = message.total[i], share = total ? message.accepted[i] / total : 0, from = y((i + 1) / n), to = y(i / n);
      if (!total || (i + 1) / n <= lowest) continue;
      const tall = Math.max(1, to - from - 1), reach = share * wide;
      g.globalAlpha = Math.min(1, 0.35 + total / 15);
      g.fillStyle = pf.colour('--accepted');
      g.fillRect(left, from + 0.5, reach, tall);
      g.globalAlpha *= 0.55;
      g.fillStyle = pf.colour('--rejected');
      g.fillRect(left + reach + 1, from + 0.5, Math.max(0, wide - reach - 1), tall);
      g.globalAlpha = 1;
      bins.push({from, to, left, right: box.edge, text: `cos_sim ${(i / n).toFixed(2)} to ${((i + 1) / n).toFixed(2)}: ${message.accepted[i]} of ${total} guesses accepted in this visit`});
    }
    if (!curve) return;
    g.strokeStyle = pf.colour('--ink');
    g.lineWidth = 1.5;
    g.beginPath();
    curve.points.forEach(([cos, share], i) => { const px = left + share * wide, py = y(Math.max(lowest, cos)); if (i) g.lineTo(px, py); else g.moveTo(px, py); });
    g.stroke();
  }

  function empty(g, box, answer) {
    const words = !answer ? 'Nothing has been said yet.'
      : answer.done && answer.rounds.size ? 'No cos_sim: this drafter has no state to compare.' : '';
    g.fillStyle = pf.colour('--dim');
    if (words) g.fillText(words, box.left + 8, (box.top + box.bottom) / 2 + 16, box.right - box.left);
  }

  const draw = pf.lazily(() => {
    const [g, width, height] = pf.fit(canvas), answer = pf.answers.shown(), box = layout(width, height);
    g.font = '11px system-ui, sans-serif';
    g.textBaseline = 'middle';
    const work = answer?.work || [], last = Math.max(0.1, ...work.map(piece => piece.end_s));
    const end = STEPS.find(step => step >= last) || last, x = s => box.left + s / end * (box.edge - box.left);
    points = answer ? judged(answer) : [];
    lanes(g, box, x, answer, work);
    scale(g, box, x, end, answer);
    similarity(g, box, x);
    if (!points.length) empty(g, box, answer);
    if (pointed?.checked_s != null) { g.fillStyle = pf.colour('--ink'); g.fillRect(x(pointed.checked_s), 0, 1, box.top - 12); }
    canvas.dataset.points = points.length;
    canvas.dataset.lanes = [...new Set(work.map(piece => piece.lane))].sort().join(' ');
    canvas.dataset.counted = (counts.get(named())?.total || []).reduce((sum, n) => sum + n, 0);
  }, 120);

  canvas.addEventListener('pointermove', event => {
    const r = canvas.getBoundingClientRect(), px = event.clientX - r.left, py = event.clientY - r.top;
    const near = points.find(point => Math.hypot(point.x - px, point.y - py) < 8);
    const bin = bins.find(each => px >= each.left && px <= each.right && py >= each.from && py <= each.to);
    canvas.title = near ? `${near.word.text.trim()}: ${near.word.state}, cos_sim ${near.word.cos_sim.toFixed(3)}` : bin ? bin.text : '';
    if (near) pf.emit('pointed', near.word.id);
  });
  pf.on('point', word => { pointed = word; draw(); });
  pf.on('shown', () => { pointed = null; draw(); });
  for (const kind of ['round', 'ended', 'theme']) pf.on(kind, draw);
  pf.on('agreement', message => { counts.set(message.drafter, message); label(); draw(); });
  function label() {
    const through = pf.answers.shown()?.done?.cos_adapter ?? adapter, total = (counts.get(named())?.total || []).reduce((sum, n) => sum + n, 0);
    element.querySelector('.adapter').textContent = through === 'own' ? '' : through ? ` (adapter ${through})` : '';
    const curve = curves.get(named());
    element.querySelector('.counted').textContent = `how often guesses with that cos_sim were accepted: bars, ${total} guesses counted in this visit${curve ? `; line, ${curve.said}` : ''}.`;
  }
  pf.on('hello', message => {
    adapter = message.cos_adapter;
    counts.clear();
    for (const [name, curve] of Object.entries(message.curves)) curves.set(name, curve);
    label();
  });
  for (const kind of ['shown', 'ended']) pf.on(kind, label);
  new ResizeObserver(draw).observe(canvas);
  draw();
};
