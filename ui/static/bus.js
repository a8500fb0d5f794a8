// The page's side of /live: one socket, reconnecting, plus what every part needs (times, colours, canvases).
// A text message is a JSON array of {k: type, ...}; a binary one is [u8 kind][u32le ms][image file].
window.pf = (() => {
  'use strict';
  const VERSION = 4, UNKNOWN = 4401, REPLACED = 4409, TRIES = 2;
  const listeners = {};
  let socket = null, token = null, retry = 0, timer = 0, tries = 0, owed = [];

  const on = (kind, listener) => (listeners[kind] ??= []).push(listener);
  const emit = (kind, message) => (listeners[kind] || []).forEach(listener => listener(message));
  const send = (k, v) => { if (socket?.readyState === 1) socket.send(JSON.stringify({k, v})); };

  function open(newToken) {
    if (newToken === token && socket?.readyState < 2) return;
    token = newToken;
    clearTimeout(timer);
    if (socket) { socket.onclose = null; socket.close(); }
    const scheme = location.protocol === 'https:' ? 'wss://' : 'ws://';
    socket = new WebSocket(`${scheme}${location.host}/live?token=${encodeURIComponent(token)}`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { retry = tries = 0; owed = []; emit('conn', 'open'); if (document.hidden) send('hidden', true); };
    socket.onclose = event => {
      if (event.code === UNKNOWN) return rejoin();
      if (event.code === REPLACED) return emit('conn', 'replaced');
      emit('conn', 'lost');
      timer = setTimeout(() => open(token), Math.min(8000, 500 * 2 ** retry++));
    };
    socket.onmessage = event => typeof event.data === 'string' ? read(event.data) : picture(event.data);
  }

  /** The program was started again, or has forgotten this page: get a new session from it. */
  function rejoin() {
    emit('conn', 'gone');
    // Gradio's own connection does not survive an answer that was cut off: then the page begins anew
    if (tries++ >= TRIES) return location.reload();
    document.querySelector('#rejoin')?.click();
    clearTimeout(timer);
    timer = setTimeout(rejoin, 1500);
  }

  function read(text) {
    for (const message of JSON.parse(text)) {
      if (message.k === 'hello' && message.version !== VERSION) return location.reload();
      emit(message.k, message);
    }
  }

  async function picture(data) {
    const kind = new Uint8Array(data, 0, 1)[0], at = new DataView(data).getUint32(1, true) / 1000;
    try {
      const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 5)]));
      emit('picture', {kind, at, bitmap});
      bitmap.close();
    } finally {
      if (document.hidden) owed.push(kind); else send('ack', kind);   // a hidden tab asks for no more pictures
    }
  }

  document.addEventListener('visibilitychange', () => {
    send('hidden', document.hidden);
    if (!document.hidden) { owed.forEach(kind => send('ack', kind)); owed = []; }
  });

  const colours = new Map();
  const root = () => document.querySelector('.gradio-container') || document.body;
  return {
    on, emit, send, open, token: () => token,
    /** 75.26 -> "1:15.3" */
    clock(seconds, digits = 1) {
      const ticks = Math.max(0, Math.round(seconds * 10 ** digits)), minutes = Math.floor(ticks / (60 * 10 ** digits));
      return `${minutes}:${(ticks / 10 ** digits - minutes * 60).toFixed(digits).padStart(3 + digits, '0')}`;
    },
    /** Value of one of our CSS colour variables. */
    colour(name) {
      const theme = document.body.classList.contains('dark') ? 'dark' : 'light', key = `${theme} ${name}`;
      if (!colours.has(key)) colours.set(key, getComputedStyle(root()).getPropertyValue(name).trim());   // asking costs a style pass
      return colours.get(key);
    },
    /** Match a canvas to its size on screen; returns [context, width, height] in CSS pixels. */
    fit(canvas) {
      const {width, height} = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
      const w = Math.round(width * ratio), h = Math.round(height * ratio);
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
      const context = canvas.getContext('2d');
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      return [context, width, height];
    },
    /** Call `draw` once per animation frame at most, or once in `rest` ms, however often it is asked for. */
    lazily(draw, rest = 0) {
      let asked = false, last = -1e9;
      const now = () => requestAnimationFrame(at => { asked = false; last = at; draw(); });
      return () => {
        if (asked) return;
        asked = true;
        const left = rest - (performance.now() - last);
        if (left > 0) setTimeout(now, left); else now();
      };
    },
  };
})();
