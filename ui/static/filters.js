// The filters that this visitor looks through. The program says which are on, and why others are not.
pf.filters = element => {
  'use strict';
  const rows = [...element.querySelectorAll('[data-filter]')].map(row => {
    const told = document.createElement('span');
    told.className = 'told';
    told.id = `pf-told-${row.dataset.filter}`;
    told.setAttribute('role', 'status');
    row.append(told);
    const value = row.querySelector('.value');
    value.setAttribute('aria-describedby', told.id);
    return {name: row.dataset.filter, row, told, value, check: row.querySelector('[type=checkbox]'), reason: ''};
  });
  const q = selector => element.querySelector(selector);
  const wanted = () => rows.filter(each => each.check.checked).map(each => `${each.name}:${each.value.value.replace(/\s/g, '') || 'nothing'}`);
  const turned = () => rows.some(each => each.name === 'rotate' && each.check.checked);
  let waiting = false, touched = false;   // touched: somebody named a region, else it is the middle of the picture

  function send() {
    pf.send('filters', wanted());
    waiting = true;
    for (const each of rows) {
      if (!each.check.checked) say(each, '');
      else if (each.reason || !each.told.textContent) say(each, '', 'one moment…');
    }
  }
  function say(each, reason, text = '') {
    each.reason = reason;
    each.row.classList.toggle('wrong', !!reason);
    each.value.setAttribute('aria-invalid', !!reason);
    const words = reason || text;
    if (each.told.textContent !== words) each.told.textContent = words;
  }
  for (const each of rows) {
    each.check.addEventListener('change', send);
    each.value.addEventListener('change', () => {
      touched ||= each.name === 'roi';
      each.check.checked = true;
      send();
    });
  }

  pf.on('filtering', message => {
    waiting = false;
    const specs = Object.fromEntries(message.wanted.map(spec => [spec.split(':')[0], spec.slice(spec.indexOf(':') + 1)]));
    for (const each of rows) {
      const spec = specs[each.name];
      if (!each.row.contains(document.activeElement)) {
        each.check.checked = spec !== undefined;
        if (spec && spec !== each.name) each.value.value = spec;
        touched ||= each.name === 'roi' && !!spec;
      }
      say(each, spec === undefined ? '' : (message.reasons[each.name] || '').replace(`${each.name}:`, ''), each.told.textContent);
    }
    if (Object.keys(message.reasons).length) element.querySelector('details').open = true;
  });
  pf.on('source', message => {
    const [width, height] = (message.event_size || message.frame_size || '').split('x').map(Number);
    const roi = rows.find(each => each.name === 'roi');
    if (height && !touched && !roi.check.checked && !turned()) {
      roi.value.value = [width / 4, height / 4, width / 2, height / 2].map(Math.round).join(',');
    }
  });

  // What each one held back

  const plenty = number => number >= 1e6 ? `${(number / 1e6).toFixed(1)} M` : number >= 1e4 ? `${Math.round(number / 1e3)} k` : `${number}`;
  const held = (came, went) => `held back ${plenty(came - went)} of ${plenty(came)} events${came ? ` (${(100 * (came - went) / came).toFixed(1)} %)` : ''}`;
  pf.on('play', message => {
    const own = message.filters.slice(message.filters.length - message.own_filters);
    const given = message.filters.slice(0, message.filters.length - message.own_filters);
    const counts = Object.fromEntries(own.map(([spec, came, went]) => [spec.split(':')[0], [came, went]]));
    for (const each of rows) {
      const count = each.check.checked && counts[each.name];
      if (!each.reason && (count || !waiting)) say(each, '', !count ? '' : count[0] === count[1] && ['flip', 'rotate'].includes(each.name) ? `${plenty(count[0])} events moved` : held(...count));
    }
    q('.given').textContent = given.length ? `Set by who runs this program: ${given.map(([spec, came, went]) => `${spec} ${held(came, went)}`).join(', ')}.` : '';
    const names = message.filters.map(([spec]) => spec);
    const words = names.length ? names.join(', ') : 'none: every event passes';
    if (q('.on').textContent !== words) q('.on').textContent = words;
    q('.on').classList.toggle('some', !!names.length);
  });

  // A new session of this page is told what the one before it knew

  pf.on('conn', state => { if (state === 'gone') sessionStorage.setItem('pf-filters', JSON.stringify(wanted())); });
  pf.on('hello', () => {
    const before = JSON.parse(sessionStorage.getItem('pf-filters'));
    sessionStorage.removeItem('pf-filters');
    if (before) pf.send('filters', before);   // none too: the page's link may name some
  });
};
