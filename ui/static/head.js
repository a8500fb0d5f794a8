// The header: connection and the switch between light and dark.
pf.head = element => {
  'use strict';
  const chip = element.querySelector('.conn');
  const WORDS = {open: 'connected', lost: 'reconnecting…', gone: 'started again: reload this page', replaced: 'open elsewhere: reload this page'};
  pf.on('conn', state => { chip.textContent = WORDS[state]; chip.dataset.state = state; });
  pf.on('hello', message => { element.querySelector('.models').textContent = message.models; const note = element.querySelector('.note'); note.hidden = !message.note; note.textContent = message.note; });
  element.querySelector('.theme').addEventListener('click', () => {
    document.body.classList.toggle('dark');
    pf.emit('theme');
  });
};
