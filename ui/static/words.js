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
  let how = 'sentence', sticks = true, chosen = null, readable = true, mixed = false;
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

  const drafted = round => round.words.filter(word => word.origin !== 'verifier');
  const own = round => round.words.filter(word => word.origin === 'verifier');

  // Sentence: the main branch of each round, then what the verifier said itself

  function asSentence(round) {
    const row = make('span', 'run');
    for (const word of round.words) if (word.main) row.append(token(word));
    return row;
  }

  // Round by round: the line of a draft that mattered; tree: all its branches, growing to the right

  function asRound(round) {
    const row = make('div', 'row'), guesses = drafted(round), depth = Math.max(0, ...guesses.map(word => word.depth));
    const count = round.k === 'drafted' ? `${guesses.length} guessed` : depth ? `accepted ${round.accepted} of ${depth}` : 'no guess';
    const label = make('span', 'label'), check = round.work?.find(piece => piece.lane === 'verify');
    label.append(make('b', '', `round ${round.round + 1}`), ` ${count}`);
    if (guesses.length > depth) label.append(` · tree of ${guesses.length}`);
    if (check) label.append(` · check ${Math.round((check.end_s - check.start_s) * 1000)} ms`);
    row.append(label);
    const body = make('span', 'body');
    if (how === 'tree') body.append(branches(guesses, null));
    else body.append(...guesses.filter(word => word.main).map((word, i, all) => by(word, all[i - 1]?.origin)));
    body.append(...own(round).map(token));
    row.append(body);
    return row;
  }
  /** A guess and who made it, where that is not the same for all. */
  function by(word, said) {
    const node = token(word);
    if (mixed && word.origin !== said) node.append(make('small', 'by', pf.answers.short(word.origin)));
    return node;
  }
  /** The guesses after `parent`: what follows without a choice stands in one piece, every choice opens a branch. */
  function branches(words, parent) {
    const column = make('span', 'fork');
    for (const first of words.filter(w => w.parent === parent)) {
      const line = make('span', `branch ${first.state}`), piece = make('span', 'piece');
      let word = first, said = null, next = [];
      do {
        piece.append(by(word, said));
        said = word.origin;
        next = words.filter(w => w.parent === word.id);
      } while (next.length === 1 && (word = next[0]));
      line.append(piece);
      if (next.length) line.append(branches(words, word.id));
      column.append(line);
    }
    return column;
  }

  // Drawing

  function place(round) {
    mixed ||= new Set(drafted(round).map(word => word.origin)).size > 1;
    const fresh = how === 'sentence' ? asSentence(round) : asRound(round);
    const old = rounds.get(round.round);
    if (old) old.replaceWith(fresh); else box.append(fresh);
    rounds.set(round.round, fresh);
    if (chosen && old?.contains(chosen)) mark([...fresh.querySelectorAll('.tk')].find(node => node.word.id === chosen.word.id));
  }
  function note(text) { box.append(make('span', 'note', text)); }
  function drawAll() {
    const answer = pf.answers.shown();
    rounds.clear();
    changed.clear();
    box.replaceChildren();
    chosen = null;
    sticks = true;
    mixed = false;
    box.classList.toggle('rounds', how !== 'sentence');
    box.classList.toggle('tree', how === 'tree');
    heading(answer);
    if (!answer) note(readable ? 'The words of the first live caption appear here by themselves. Or ask a question.' : 'No words: without RGB frames there is nothing to check guesses with.');
    else if (!answer.rounds.size && !answer.done) note(waiting(answer));
    else [...answer.rounds.keys()].sort((a, b) => a - b).forEach(number => place(answer.rounds.get(number)));
    ended(answer);
    if (how === 'tree' && answer?.done && !pf.answers.branches(answer)) box.prepend(make('div', 'note', 'No branches here: this drafter guesses one line of words. Choose vlm:tree, eagle, medusa or mix in the settings to see a tree.'));
    box.scrollTop = answer?.done && how !== 'sentence' ? 0 : box.scrollHeight;
    reachable();
    details.replaceChildren(...hint());
  }
  function waiting(answer) {
    if (answer.replayed) return 'The trace begins…';
    return answer.place ? `The models make ${answer.place} other answer${answer.place > 1 ? 's' : ''} first…` : 'The models are reading…';
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
    q('.who').textContent = answer?.replayed ? `Played back from ${answer.replayed}, no model runs` : question ? 'Answer to your question' : 'Live caption';
    q('.question').textContent = answer ? `“${answer.question}”` : '';
    q('.about').textContent = answer ? `about ${pf.clock(answer.start_s)} – ${pf.clock(answer.end_s)}${pf.answers.held() ? ' · kept while you look at it' : ''}` : '';
    const law = q('.law'), done = answer?.done;
    law.hidden = !done || !!done.error;
    if (done) {
      law.textContent = done.lossless ? 'exactly the RGB model’s own words' : 'may differ from the RGB model’s own words';
      law.title = `${done.lossless ? 'lossless' : 'lossy'} · acceptance rule: ${done.rule}`;
      law.classList.toggle('lossy', !done.lossless);
    }
    q('.set').hidden = !answer;
    q('.set').textContent = answer?.how || (answer ? `drafter ${answer.drafter}` : '');
    for (const button of element.querySelectorAll('.whose button')) {
      button.setAttribute('aria-pressed', button.dataset.who === pf.answers.whose());
      button.disabled = button.dataset.who === 'question' && !pf.answers.has('question');
    }
  }
  pf.on('source', message => { readable = Boolean(message.frame_size); if (!pf.answers.shown()) drawAll(); });
  pf.on('shown', drawAll);
  const changed = new Set();   // rounds to draw again; once per animation frame, because a line of words is laid out anew as a whole
  const drawChanged = pf.lazily(() => {
    const answer = pf.answers.shown();
    if (changed.size) for (const node of box.querySelectorAll(':scope > .note')) node.remove();
    for (const number of changed) if (answer?.rounds.has(number)) place(answer.rounds.get(number));
    changed.clear();
    reachable();
    if (sticks) box.scrollTop = box.scrollHeight;
  });
  /** One word is in the order of Tab: the chosen one, else the first. */
  function reachable() {
    if (!box.querySelector('.tk[tabindex="0"]')) box.querySelector('.tk:not([hidden])')?.setAttribute('tabindex', 0);
  }
  pf.on('round', message => { changed.add(message.round); drawChanged(); });
  pf.on('waiting', () => { if (!pf.answers.shown().rounds.size) drawAll(); });
  pf.on('ended', drawKeepingChoice);
  pf.on('kept', () => heading(pf.answers.shown()));
  function drawKeepingChoice() {
    const id = chosen?.word.id;
    drawAll();
    if (id) choose([...box.querySelectorAll('.tk')].find(node => node.word.id === id));
  }

  // Details of one word

  function hint() {
    const pair = make('div');
    pair.append(make('dt', '', 'Point at a word'), make('dd', 'hint', 'to see who guessed it, how sure both models were, when it was checked, and its object in both views.'));
    return [pair];
  }
  function show(word) {
    const rows = [['word', word.text.trim() || '(end)'], ['verdict', VERDICT[word.state]]];
    if (word.replaces) rows.push(['instead of', word.replaces.trim()]);
    if (word.replaced_by) rows.push(['the RGB model said', word.replaced_by.trim()]);
    if (word.origin !== 'verifier') {
      rows.push(['guessed by', `${pf.answers.guesser(word.origin)} (${word.origin})`], ['cos_sim', word.cos_sim == null ? '–' : word.cos_sim.toFixed(3)],
                ['probability drafter / verifier', `${share(word.p_draft)} / ${share(word.p_verify)}`]);
    }
    rows.push(['round', word.round + 1], ['depth', word.depth || null], ['guessed at', seconds(word.drafted_s)], ['checked at', seconds(word.checked_s)]);
    const answer = pf.answers.shown();
    rows.push(['in the recording', answer && answer.end_s > answer.start_s ? `${pf.clock(answer.start_s)} – ${pf.clock(answer.end_s)}` : null]);
    details.replaceChildren(...rows.filter(row => row[1] != null).map(([key, value]) => {
      const pair = make('div');
      pair.append(make('dt', '', key), make('dd', '', value));
      return pair;
    }));
  }
  function mark(node) {
    chosen?.classList.remove('chosen');
    if (node) for (const other of box.querySelectorAll('.tk[tabindex="0"]')) other.tabIndex = -1;
    chosen = node || null;
    chosen?.classList.add('chosen');
    if (chosen) chosen.tabIndex = 0;
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
    choose(event.target.closest('.tk'));
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
  function view(name) {
    how = name;
    for (const button of q('.how').children) button.setAttribute('aria-pressed', button.dataset.how === name);
    for (const node of element.querySelectorAll('.of-words, .heading')) node.hidden = name === 'race';
    q('.race').hidden = name !== 'race';
    if (name !== 'race') drawKeepingChoice();
  }
  q('.how').addEventListener('click', event => { if (event.target.dataset.how) view(event.target.dataset.how); });
  pf.on('view', view);
  pf.on('start', message => { if (message.who === 'question' && how === 'race') view('sentence'); });
  q('.wrong').addEventListener('change', event => box.classList.toggle('right-only', !event.target.checked));
  box.addEventListener('scroll', () => { sticks = box.scrollTop + box.clientHeight > box.scrollHeight - 30; });
  drawAll();
};
