// The words panel: which words were guessed, accepted, rejected, recovered; as a sentence or round by round.
// Model text goes into the page through textContent only.
pf.words = element => {
  'use strict';
  const q = selector => element.querySelector(selector);
  const box = q('.box'), details = q('.details');
  const VERDICT = {pending: 'a guess, waiting for its check', accepted: 'accepted: guessed right',
                   rejected: 'rejected: guessed wrong', unreached: 'not reached: came after a wrong guess',
                   recovered: 'recovered: the RGB model’s word instead of a wrong guess',
                   bonus: 'bonus: the RGB model’s next word, free with the check', plain: 'plain: nobody guessed, the RGB model wrote it'};
  const seconds = value => value == null ? null : `${value.toFixed(2)} s`;
  const share = value => value == null ? '–' : value.toFixed(2);
  let how = 'sentence', sticks = true, chosen = null, readable = true;
  const rounds = new Map();   // round number -> its element

  function make(tag, name, text) {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /** One word: its leading space outside, so that marks sit on the letters. */
  function token(word) {
    const node = make('span', `tk ${word.state}`), text = word.text, letters = text.trimStart();
    if (text.length > letters.length) node.append(make('span', 'gap', text.slice(0, text.length - letters.length)));
    node.append(make('span', 'w', letters));
    node.tabIndex = -1;
    node.setAttribute('role', 'button');
    node.setAttribute('aria-label', `${letters || 'end'}, ${VERDICT[word.state]}${word.replaces ? ` ${word.replaces}` : ''}`);
    node.word = word;
    node.hidden = !text;
    return node;
  }

  // Sentence: the main branch of each round, then what the verifier said itself

  function asSentence(round) {
    const row = make('span', 'run');
    for (const word of round.words) if (word.main) row.append(token(word));
    return row;
  }

  // Round by round: a chain is a line, a tree grows to the right

  function asRound(round) {
    const row = make('div', 'row'), drafted = round.words.filter(word => word.depth > 0 && word.origin !== 'verifier');
    const own = round.words.filter(word => word.origin === 'verifier');
    const depth = Math.max(0, ...drafted.map(word => word.depth));
    const count = round.k === 'drafted' ? `${drafted.length} guessed` : depth ? `accepted ${round.accepted} of ${depth}` : 'no guess';
    const label = make('span', 'label');
    label.append(make('b', '', `round ${round.round + 1}`), ` ${count}`);
    if (drafted.length > depth) label.append(` · tree of ${drafted.length}`);
    row.append(label);
    const body = make('span', 'body');
    if (drafted.length === depth) body.append(...drafted.map(token));
    else body.append(branches(drafted, null));
    body.append(...own.map(token));
    row.append(body);
    return row;
  }
  function branches(words, parent) {
    const column = make('span', 'fork');
    for (const word of words.filter(w => w.parent === parent)) {
      const line = make('span', 'branch');
      line.append(token(word));
      if (words.some(w => w.parent === word.id)) line.append(branches(words, word.id));
      column.append(line);
    }
    return column;
  }

  // Drawing

  function place(round) {
    const fresh = how === 'sentence' ? asSentence(round) : asRound(round);
    const old = rounds.get(round.round);
    if (old) old.replaceWith(fresh); else box.append(fresh);
    rounds.set(round.round, fresh);
    if (chosen) mark([...fresh.querySelectorAll('.tk')].find(node => node.word.id === chosen.word.id));
    if (sticks) box.scrollTop = box.scrollHeight;
  }
  function note(text) { box.append(make('span', 'note', text)); }
  function drawAll() {
    const answer = pf.answers.shown();
    rounds.clear();
    box.replaceChildren();
    chosen = null;
    sticks = true;
    box.classList.toggle('rounds', how === 'rounds');
    heading(answer);
    if (!answer) note(readable ? 'The words of the first live caption appear here by themselves. Or ask a question.' : 'No words: without RGB frames there is nothing to check guesses with.');
    else if (!answer.rounds.size && !answer.done) note(answer.waits ? 'The models answer another visitor first; yours is next…' : 'The models are reading the last second…');
    else [...answer.rounds.keys()].sort((a, b) => a - b).forEach(number => place(answer.rounds.get(number)));
    ended(answer);
    if (answer?.done && how === 'rounds') box.scrollTop = 0;
    details.replaceChildren(...hint());
  }
  function ended(answer) {
    const done = answer?.done;
    if (!done) return;
    if (done.error) note(` The answer broke off: ${done.error}.`);
    else if (done.stopped === 'cancelled') note(' (stopped here)');
    else if (!answer.rounds.size) note('The model said nothing.');
  }
  function heading(answer) {
    const question = pf.answers.whose() === 'question';
    q('.who').textContent = question ? 'Answer to your question' : 'Live caption';
    q('.question').textContent = answer ? `“${answer.question}”` : '';
    q('.about').textContent = answer ? `about ${pf.clock(answer.start_s)} – ${pf.clock(answer.end_s)}${pf.answers.held() ? ' · kept while you look at it' : ''}` : '';
    const law = q('.law'), done = answer?.done;
    law.hidden = !done || !!done.error;
    if (done) {
      law.textContent = done.lossless ? 'exactly the RGB model’s own words' : 'may differ from the RGB model’s own words';
      law.title = `${done.lossless ? 'lossless' : 'lossy'} · acceptance rule: ${done.rule} · drafter: ${done.drafter}`;
      law.classList.toggle('lossy', !done.lossless);
    }
    for (const button of element.querySelectorAll('.whose button')) {
      button.setAttribute('aria-pressed', button.dataset.who === pf.answers.whose());
      button.disabled = button.dataset.who === 'question' && !pf.answers.has('question');
    }
  }
  pf.on('source', message => { readable = Boolean(message.frame_size); if (!pf.answers.shown()) drawAll(); });
  pf.on('shown', drawAll);
  pf.on('round', message => {
    box.querySelectorAll('.note').forEach(node => node.remove());
    place(pf.answers.shown().rounds.get(message.round));
  });
  pf.on('ended', drawKeepingChoice);
  pf.on('kept', () => heading(pf.answers.shown()));
  function drawKeepingChoice() {
    const id = chosen?.word.id;
    drawAll();
    if (id) choose([...box.querySelectorAll('.tk')].find(node => node.word.id === id));
  }

  // Details of one word

  function hint() { return [make('dt', '', 'Point at a word'), make('dd', 'hint', 'to see who guessed it, how sure the models were and when.')]; }
  function show(word) {
    const rows = [['word', word.text.trim() || '(end)'], ['verdict', VERDICT[word.state]]];
    if (word.replaces) rows.push(['instead of', word.replaces.trim()]);
    if (word.replaced_by) rows.push(['the RGB model said', word.replaced_by.trim()]);
    if (word.origin !== 'verifier') {
      rows.push(['guessed by', word.origin], ['cos_sim', word.cos_sim == null ? '–' : word.cos_sim.toFixed(3)],
                ['probability drafter / verifier', `${share(word.p_draft)} / ${share(word.p_verify)}`], ['depth', word.depth]);
    }
    rows.push(['round', word.round + 1], ['guessed at', seconds(word.drafted_s)], ['checked at', seconds(word.checked_s)]);
    details.replaceChildren(...rows.filter(row => row[1] != null).flatMap(([key, value]) => [make('dt', '', key), make('dd', '', value)]));
  }
  function mark(node) {
    chosen?.classList.remove('chosen');
    chosen = node || null;
    chosen?.classList.add('chosen');
  }
  function choose(node) {
    if (!node) return;
    mark(node);
    show(node.word);
    pf.emit('point', node.word);
  }
  box.addEventListener('pointerover', event => choose(event.target.closest('.tk')));
  box.addEventListener('click', event => choose(event.target.closest('.tk')));
  box.addEventListener('focusin', event => {
    pf.answers.hold(true);
    if (event.target === box) { const first = box.querySelector('.tk:not([hidden])'); first?.focus(); } else choose(event.target.closest('.tk'));
  });
  box.addEventListener('focusout', event => { if (!box.contains(event.relatedTarget) && !box.matches(':hover')) release(); });
  box.addEventListener('pointerenter', () => pf.answers.hold(true));
  box.addEventListener('pointerleave', event => { if (event.pointerType === 'mouse' && !box.contains(document.activeElement)) release(); });
  function release() { pf.answers.hold(false); heading(pf.answers.shown()); pf.emit('unpoint'); }
  box.addEventListener('keydown', event => {
    const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!by) return;
    const all = [...box.querySelectorAll('.tk:not([hidden])')], next = all[(chosen ? all.indexOf(chosen) : -by) + by];
    next?.focus();
    event.preventDefault();
  });
  pf.on('pointed', id => choose([...box.querySelectorAll('.tk')].find(node => node.word.id === id)));

  // Switches

  q('.whose').addEventListener('click', event => { const who = event.target.dataset.who; if (who) { pf.answers.hold(false); pf.answers.show(who); } });
  q('.how').addEventListener('click', event => {
    if (!event.target.dataset.how) return;
    how = event.target.dataset.how;
    for (const button of q('.how').children) button.setAttribute('aria-pressed', button === event.target);
    drawKeepingChoice();
  });
  q('.wrong').addEventListener('change', event => box.classList.toggle('right-only', !event.target.checked));
  box.addEventListener('scroll', () => { sticks = box.scrollTop + box.clientHeight > box.scrollHeight - 30; });
  drawAll();
};
