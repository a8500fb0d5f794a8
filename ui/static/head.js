// The header: connection and the switch between light and dark.
pf.head = element => {
  'use strict';
  const chip = element.querySelector('.conn');
  const WORDS = {open: 'connected', lost: 'reconnecting…', gone: 'this page is not known any more, reconnecting…', back: 'reconnected', replaced: 'open elsewhere: reload this page'};
  let gone = sessionStorage.getItem('pf-lost') !== null;   // this page has begun anew
  pf.on('conn', state => {
    chip.textContent = WORDS[state === 'open' && gone ? 'back' : state];
    chip.dataset.state = state;
    gone = state === 'gone' || (gone && state === 'lost');
  });
  pf.on('hello', message => {
    const known = sessionStorage.getItem('pf-program');
    sessionStorage.setItem('pf-program', message.program);
    // whoever made this page begin anew: Gradio does so too
    if (known && known !== message.program) chip.textContent = 'reconnected: the program was started again';
    else if (chip.textContent === WORDS.back) chip.textContent = 'reconnected: this page had been forgotten';
  });
  pf.on('hello', message => { element.querySelector('.models').textContent = message.models; const note = element.querySelector('.note'); note.hidden = !message.note; note.textContent = message.note; });
  element.querySelector('.theme').addEventListener('click', () => {
    document.body.classList.toggle('dark');
    pf.emit('theme');
  });
};
