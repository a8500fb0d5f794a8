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

  const ask = path => fetch(path, {method: 'POST', headers: {'parafovea-token': pf.token() || ''}});
  const reason = async answer => (await answer.json()).detail;

  async function part(kind) {
    const answer = await ask(`/part/${kind}`);
    if (!answer.ok) return reason(answer);
    save(await answer.blob(), `part.${kind}`);
    return `Saved as part.${kind}.`;
  }

  // Recording a live source: the file stays with the program until Stop, which brings it here, or for good.
  const record = element.querySelector('.record');
  let timer = 0;
  function recording(on) {
    clearInterval(timer);
    record.setAttribute('aria-pressed', on);
    record.textContent = on ? 'stop and save' : 'record';
    if (on) timer = setInterval(follow, 1000);
  }

  const counted = (counts, after = '') => counts.filter(([count]) => count).map(([count, what]) => `, ${count.toLocaleString()} ${what}${after}`).join('');
  const sensed = (imu, triggers) => counted([[imu, 'IMU samples'], [triggers, 'triggers']]);
  const lost = (events, frames, samples) => counted([[events, 'events'], [frames, 'frames'], [samples, 'IMU samples and triggers']], ' dropped');

  async function follow() {
    const answer = await ask('/record/state').catch(() => null);
    if (!answer || record.getAttribute('aria-pressed') !== 'true') return;
    if (!answer.ok) { recording(false); told.textContent = await reason(answer); return; }
    const state = await answer.json();
    const ended = state.ended ? `; ${state.ended}` : '';
    told.textContent = `${state.seconds.toFixed(0)} s, ${state.events.toLocaleString()} events, ${state.frames} frames${sensed(state.imu, state.triggers)}, ${state.megabytes} MB${lost(state.dropped, state.frames_dropped, state.samples_dropped)}${ended}`;
  }

  async function toggle() {
    const on = record.getAttribute('aria-pressed') === 'true';
    const answer = await ask(`/record/${on ? 'stop' : 'start'}`);
    if (!answer.ok) { if (on) recording(false); return reason(answer); }
    recording(!on);
    if (!on) return 'Recording…';
    const count = name => Number(answer.headers.get(`parafovea-${name}`));
    const what = `${count('events').toLocaleString()} events, ${count('frames')} frames${sensed(count('imu'), count('triggers'))}${lost(count('dropped'), count('frames-dropped'), count('samples-dropped'))}`;
    if (answer.headers.get('content-type').includes('json')) {
      const kept = await answer.json();
      return `Kept as ${kept.name}, ${what}; it is among the recordings now.${kept.ended ? ` Ended early: ${kept.ended}` : ''}`;
    }
    save(await answer.blob(), 'recording.aedat4');
    return `Saved as recording.aedat4, ${what}.`;
  }

  pf.on('source', message => {
    for (const button of element.querySelectorAll('[data-part]')) button.hidden = message.live;
    record.hidden = !message.live && record.getAttribute('aria-pressed') !== 'true';
  });

  element.addEventListener('click', async event => {
    const button = event.target.closest('button');
    if (!button) return;
    button.disabled = true;
    told.textContent = 'One moment…';
    try { told.textContent = await (button === record ? toggle() : button.dataset.part ? part(button.dataset.part) : take(button.dataset.what)); }
    catch { told.textContent = 'The program does not answer.'; }
    button.disabled = false;
  });
};
