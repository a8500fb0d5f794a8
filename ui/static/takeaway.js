// Files of the answer that is shown: asked for with the session's token, saved under a name that says what it is.
pf.takeaway = element => {
  'use strict';
  const told = element.querySelector('.told');
  const NAMES = {trace: 'answer.jsonl', gif: 'answer.gif', mp4: 'answer.mp4', srt: 'captions.srt', vtt: 'captions.vtt', chat: 'chat.txt'};

  function save(blob, name) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async function copy(query) {
    const address = `${location.origin}${location.pathname}${query}`;
    history.replaceState(null, '', query);
    try {
      await navigator.clipboard.writeText(address);
      return 'The link is copied; it is in the address line too.';
    } catch {
      return 'The link is in the address line now.';   // no clipboard without https or permission
    }
  }

  async function take(what) {
    const answer = await fetch(`/take/${what}?who=${pf.answers.whose()}`, {method: 'POST', headers: {'parafovea-token': pf.token() || ''}});
    if (!answer.ok) return (await answer.json()).detail;
    if (what === 'link') return copy(await answer.text());
    save(await answer.blob(), NAMES[what]);
    return `Saved as ${NAMES[what]}.`;
  }

  element.addEventListener('click', async event => {
    const button = event.target.closest('button');
    if (!button) return;
    button.disabled = true;
    told.textContent = 'One moment…';
    try { told.textContent = await take(button.dataset.what); }
    catch { told.textContent = 'The program does not answer.'; }
    button.disabled = false;
  });
};
