// The tiles: counts of the answer that the words panel shows. Empty until there is something to count.
pf.tiles = element => {
  'use strict';
  const FORMAT = {
    acceptance_rate: value => Math.round(value * 100),
    words_per_check: value => value.toFixed(1),
    words_per_s: value => value < 10 ? value.toFixed(1) : Math.round(value),
    first_guess_s: value => Math.round(value * 1000),
    first_word_s: value => Math.round(value * 1000),
    delay_s: value => value.toFixed(2),
  };
  const late = element.querySelector('.late');
  function draw() {
    const answer = pf.answers.shown();
    for (const [key, format] of Object.entries(FORMAT)) {
      const value = answer?.numbers?.[key];
      element.querySelector(`[data-key="${key}"]`).textContent = value == null ? '–' : format(value);
    }
    late.textContent = answer?.who === 'caption' ? 'words are behind the picture' : 'from question to last word';
  }
  for (const kind of ['shown', 'counted', 'ended']) pf.on(kind, draw);
  draw();
};
