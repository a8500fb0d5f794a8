// The measured speed-up: the same question answered with guesses and without, twice each (A B B A). The runs follow
// each other on the machine, because at the same time they would share it; afterwards both can be watched side by
// side at the times that were measured.
pf.race = element => {
  'use strict';
  const q = selector => element.querySelector(selector);
  const lanes = {plain: q('.race [data-side="plain"]'), drafted: q('.race [data-side="drafted"]')};
  const buttons = element.querySelectorAll('.compare'), result = q('.result'), again = q('.again');
  const NAMES = {plain: 'without guesses', drafted: 'with guesses'};
  let runs = [], measured = null, film = 0;

  const seconds = value => `${value.toFixed(2)} s`;
  const running = () => runs.length > 0 && !measured;
  const asking = () => { const answer = pf.answers.shown(); return answer && !answer.done; };

  pf.on('hello', () => { runs = []; measured = null; draw(); });
  pf.on('compare', message => {
    cancelAnimationFrame(film);
    if (message.run === 0 && (measured || !runs.length)) { runs = []; measured = null; }
    for (const lane of Object.values(lanes)) lane.querySelector('.clock').textContent = '';
    const run = runs[message.run] ??= {...message, steps: []};
    Object.assign(run, message);
    run.steps.push([message.seconds, message.text, message.checks]);
    lanes[message.side].querySelector('.said').textContent = message.text;
    draw();
  });
  pf.on('measured', message => {
    measured = message;
    draw();
    if (message.speedup && runs.every(run => run.steps.length > 1) && !matchMedia('(prefers-reduced-motion: reduce)').matches) watch();
  });

  /** One bar per run, all on one axis of time. */
  function bars(side, longest) {
    const rows = runs.filter(run => run?.side === side).map(run => {
      const row = document.createElement('div'), bar = document.createElement('i'), words = document.createElement('span');
      row.className = run.done ? 'bar' : 'bar running';
      bar.style.width = `${Math.max(1, run.seconds / longest * 100)}%`;
      words.textContent = `run ${run.run + 1}: ${seconds(run.seconds)}, ${run.checks} checks`;
      row.append(bar, words);
      return row;
    });
    lanes[side].querySelector('.bars').replaceChildren(...rows);
  }

  function draw() {
    const longest = Math.max(0.001, ...runs.map(run => run?.seconds || 0)), now = runs.at(-1);
    for (const side of Object.keys(lanes)) { bars(side, longest); lanes[side].classList.toggle('now', running() && now.side === side); }
    const drafter = measured?.drafter || now?.drafter || '';
    q('.race .by').textContent = drafter ? `${pf.answers.guesser(drafter)} guesses, the RGB model checks (drafter ${drafter})` : 'a drafter guesses, the RGB model checks many words at once';
    result.textContent = words(now);
    again.hidden = !measured?.speedup || !runs.length;
    for (const button of buttons) {
      button.textContent = running() ? 'Stop' : button.closest('.tile') ? 'measure' : measured ? 'Measure again' : 'Measure';
      button.disabled = !running() && (!pf.answers.has('question') || Boolean(asking()));
      button.title = pf.answers.has('question') ? 'Answers the last question four times: without guesses, with, with, without.' : 'Ask a question first.';
    }
    const fits = measured?.speedup && pf.answers.shown()?.question === measured.question && pf.answers.shown()?.drafter === measured.drafter;
    q('[data-key="speedup"]').textContent = fits ? measured.speedup.toFixed(2) : '–';
    q('.tile .compare').hidden = Boolean(fits) && !running();
    q('.tile.speed').title = fits ? words() : 'Measured by answering the same question both ways; no estimate.';
  }

  function words(now) {
    if (running()) return `“${now.question}” · run ${now.run + 1} of ${now.runs}, ${NAMES[now.side]} …`;
    if (!measured) return 'Answers your last question twice with guesses and twice without, one run after the other, and compares the times. While it measures, other visitors wait.';
    if (!measured.speedup) return `Not measured: ${measured.stopped}.`;
    const same = measured.same ? 'All four texts are the same, word for word.' : measured.lossless ? 'The texts differ: that should not be, please report it.' : 'The texts differ: the chosen rule is lossy.';
    const ratio = measured.speedup >= 1 ? `${measured.speedup.toFixed(2)} times as fast with guesses` : `${measured.speedup.toFixed(2)} times as fast with guesses, that is slower`;
    const busy = Object.keys(NAMES).map(unsteady).find(Boolean) || '';
    return `Measured: ${ratio}, ${seconds(measured.drafted_s)} instead of ${seconds(measured.plain_s)} (mean of two runs each, in the order without, with, with, without). ${same}${busy}`;
  }

  /** Says when the two runs of one side took very different times. */
  function unsteady(side) {
    const [a, b] = runs.filter(run => run?.side === side).map(run => run.seconds);
    return b && Math.max(a, b) > 1.25 * Math.min(a, b) ? ` The two runs ${NAMES[side]} took ${seconds(a)} and ${seconds(b)}: this machine is busy, measure again for a steadier number.` : '';
  }

  /** Play one run of either side at the same time, from the times that were measured, slow enough to see. */
  function watch() {
    const pair = ['plain', 'drafted'].map(side => runs.find(run => run?.side === side));
    const longest = Math.max(...pair.map(run => run.seconds)), slow = Math.max(1, 4 / longest), began = performance.now();
    cancelAnimationFrame(film);
    const step = () => {
      const at = (performance.now() - began) / 1000 / slow;
      for (const run of pair) {
        const reached = run.steps.filter(([when]) => when <= at).at(-1) || run.steps[0], over = at >= run.seconds;
        const said = lanes[run.side].querySelector('.said');
        if (said.textContent !== reached[1]) said.textContent = reached[1];
        lanes[run.side].querySelector('.clock').textContent = ` · ${seconds(Math.min(at, run.seconds))}${over ? ', complete' : slow > 1 ? `, shown ${slow.toFixed(1)} times slower` : ''}`;
      }
      if (at < longest) film = requestAnimationFrame(step);
    };
    step();
  }

  for (const button of buttons) button.addEventListener('click', () => { if (!running()) pf.emit('view', 'race'); pf.send(running() ? 'stop' : 'compare'); });
  again.addEventListener('click', watch);
  for (const kind of ['shown', 'ended']) pf.on(kind, draw);
  draw();
};
