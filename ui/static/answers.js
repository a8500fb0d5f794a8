// The answers on the page: the newest caption and the newest question, and which of the two is shown.
// Reduces start / queued / drafted / judged / numbers / done; tells the parts "shown" (another answer, draw
// everything), "round" (one round changed), "waiting", "counted" and "ended".
pf.answers = (() => {
  'use strict';
  const known = {caption: null, question: null};
  let whose = 'caption', next = null, held = false, asked = null;

  const shown = () => known[whose];
  const find = id => [next, known.question, known.caption].find(answer => answer?.id === id);
  const said = answer => answer.rounds.size > 0 || Boolean(answer.done?.error);

  /** A caption takes the panel with its first word, not before, and never while somebody points at the old one. */
  function promote() {
    if (!next || !said(next)) return;
    if (held) return pf.emit('kept');
    known.caption = next;
    next = null;
    if (whose === 'caption') pf.emit('shown');
  }

  function show(who) {
    if (who === whose || (who === 'question' && !known.question)) return;
    whose = who;
    pf.emit('shown');
  }

  pf.on('source', () => { next = known.caption = null; if (whose === 'caption') pf.emit('shown'); });
  pf.on('hello', () => { next = known.caption = known.question = null; pf.emit('shown'); });   // the rest follows
  pf.on('start', message => {
    const answer = {...message, place: 0, rounds: new Map(), work: [], numbers: null, done: null};
    if (message.who === 'question') {
      known.question = answer;
      if (message.id !== asked) { asked = message.id; whose = 'question'; }
      pf.emit('shown');
    } else {
      next = answer;
      if (!known.caption || !said(known.caption)) { known.caption = answer; next = null; pf.emit('shown'); }
    }
  });
  // The question line is emptied when its question was taken, unless the next one is being typed already
  pf.on('start', message => {
    const line = document.querySelector('#ask textarea, #ask input');
    if (message.who !== 'question' || line?.value.trim() !== message.question) return;
    line.value = '';
    line.dispatchEvent(new Event('input'));
  });
  function tell(kind, message, change) {
    const answer = find(message.id);
    if (!answer) return;
    change(answer);
    if (answer === next) promote();
    else if (answer === shown()) pf.emit(kind, message);
  }
  pf.on('queued', m => tell('waiting', m, answer => { answer.place = m.place; }));
  pf.on('drafted', m => tell('round', m, answer => answer.rounds.set(m.round, m)));
  pf.on('judged', m => tell('round', m, answer => { answer.rounds.set(m.round, m); answer.work.push(...m.work); }));
  pf.on('numbers', m => tell('counted', m, answer => { answer.numbers = m; }));
  pf.on('done', m => tell('ended', m, answer => {
    answer.done = m;
    for (const [number, round] of answer.rounds) if (round.k === 'drafted') answer.rounds.delete(number);
  }));

  const GUESSERS = {vlm: 'the event model', recall: 'memory', adapter: 'the event model’s states, through an adapter', eagle: 'an EAGLE head',
                    eagle3: 'an EAGLE-3 head', medusa: 'a Medusa head', specvlm: 'an EAGLE head (SpecVLM)', skip: 'the RGB model, layers left out', verifier: 'the RGB model'};
  const SHORT = {vlm: 'events', recall: 'memory', adapter: 'adapter', eagle: 'head', eagle3: 'head', medusa: 'head', specvlm: 'head', skip: 'skip'};
  const stem = origin => origin.split(':')[0];
  return {
    shown, show, whose: () => whose, has: who => known[who] !== null,
    /** Who a drafter's name means, in words; `short` in one word. */
    guesser: origin => origin.split('+').map(one => GUESSERS[stem(one)] || one).join(' and '),
    short: origin => origin.split('+').map(one => SHORT[stem(one)] || stem(one)).join('+'),
    /** Whether an answer has a draft with branches. */
    branches: answer => [...(answer?.rounds.values() || [])].some(round => round.words.filter(word => word.origin !== 'verifier').length > Math.max(0, ...round.words.filter(word => word.origin !== 'verifier').map(word => word.depth))),
    /** Keep the shown caption while somebody looks at its words. */
    hold(on) { held = on; if (!on) promote(); },
    held: () => held && next !== null && said(next),
  };
})();
