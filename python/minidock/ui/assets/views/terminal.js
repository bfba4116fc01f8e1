// A terminal in a running container, by xterm.js.
import { h, put, text } from '../dom.js'
import { engine, rows, socket } from '../engine.js'
import { empty } from '../parts.js'

const nonce = document.querySelector('link[nonce]').nonce

let loaded = null
/** Fetch xterm.js when it is first needed, and have it do with the page's policy. */
function load() {
  loaded ??= (async () => {
    // It writes rules into <style> elements, which need the page's nonce, and gives cells colours by `style` attributes,
    // which the policy refuses; the property is allowed.
    const create = document.createElement
    document.createElement = function (name, ...rest) {
      const element = create.call(this, name, ...rest)
      if (name === 'style') element.nonce = nonce
      return element
    }
    const set = HTMLSpanElement.prototype.setAttribute
    HTMLSpanElement.prototype.setAttribute = function (name, value) {
      if (name === 'style') this.style.cssText = value
      else set.call(this, name, value)
    }
    const [{ Terminal }, { FitAddon }] = await Promise.all([import('../vendor/xterm/xterm.mjs'), import('../vendor/xterm/addon-fit.mjs')])
    return { Terminal, FitAddon }
  })()
  return loaded
}

const DARK = {
  background: '#101319', foreground: '#d7dce5', cursor: '#6cc9bf', cursorAccent: '#101319', selectionBackground: '#2f4a55',
  black: '#2b303b', red: '#ef7b72', green: '#74c991', yellow: '#dcb55f', blue: '#7aaff0', magenta: '#c595e0', cyan: '#68c7d1', white: '#cfd5df',
  brightBlack: '#7b8596', brightRed: '#ff9c94', brightGreen: '#94e0ad', brightYellow: '#f2d08a', brightBlue: '#a3c9fa', brightMagenta: '#dcb6f0', brightCyan: '#93e0e8', brightWhite: '#ffffff',
}

export function show(panel, row) {
  const command = h('input.search', { type: 'text', placeholder: 'A shell', ariaLabel: 'Command', autocomplete: 'off', spellcheck: false })
  const button = h('button', { type: 'submit' }, 'Open')
  const note = h('span.sub', { role: 'status' })
  const form = h('form.bar', { onsubmit: (event) => {
    event.preventDefault()
    open()
  } }, h('label.field', null, 'Command', command), button, note)
  const place = h('div.terminal', null)
  put(panel, form, place)

  let opened = null
  let terminal = null
  let resizer = null
  let attempt = 0 // xterm.js takes its time the first time: only the last attempt goes on
  let idle = false // until the container runs

  function close() {
    opened?.close()
    resizer?.disconnect()
    terminal?.dispose()
    opened = resizer = terminal = null
  }

  async function open() {
    close()
    attempt += 1
    const mine = attempt
    const now = rows.get(row.id)
    idle = !now || now.state !== 'running'
    if (idle) {
      put(place, empty('The container does not run', 'Start it to open a terminal in it.'))
      return
    }
    text(note, 'Opening …')
    const { Terminal, FitAddon } = await load()
    if (mine !== attempt) return
    put(place)
    terminal = new Terminal({
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'), fontSize: 13, lineHeight: 1.2,
      cursorBlink: false, scrollback: 5000, theme: DARK, screenReaderMode: false, allowProposedApi: false,
    })
    const fit = new FitAddon()
    terminal.loadAddon(fit)
    terminal.open(place)
    fit.fit()
    // Ctrl-Shift-Escape leaves: all other keys are the terminal's.
    terminal.attachCustomKeyEventHandler((event) => {
      if (event.key === 'Escape' && event.ctrlKey && event.shiftKey) {
        command.focus()
        return false
      }
      return true
    })
    const asked = new URLSearchParams({ rows: terminal.rows, columns: terminal.cols, command: command.value })
    const connection = socket(`containers/${row.id}/exec?${asked}`)
    opened = connection
    const encoder = new TextEncoder()
    const alive = () => connection.readyState === WebSocket.OPEN
    terminal.onData((data) => alive() && connection.send(encoder.encode(data)))
    terminal.onBinary((data) => alive() && connection.send(Uint8Array.from(data, (one) => one.charCodeAt(0))))
    terminal.onResize(({ rows: high, cols }) => alive() && connection.send(JSON.stringify({ rows: high, columns: cols })))
    resizer = new ResizeObserver(() => fit.fit())
    resizer.observe(place)
    let over = ''
    connection.onopen = () => {
      text(note, 'Ctrl-Shift-Esc leaves the terminal')
      terminal?.focus()
    }
    connection.onmessage = ({ data }) => {
      if (typeof data !== 'string') {
        terminal?.write(new Uint8Array(data))
        return
      }
      const message = JSON.parse(data)
      over = message.error ?? `ended with ${message.exit}`
    }
    connection.onclose = () => {
      if (opened !== connection) return
      text(note, over || 'the connection was lost')
      terminal?.write(`\r\n\x1b[2m[${over.replaceAll('\x1b', '') || 'the connection was lost'}]\x1b[0m\r\n`)
      terminal.options.disableStdin = true
      if (place.contains(document.activeElement)) button.focus()
    }
  }

  const onRows = ({ detail }) => {
    if (idle && detail.changed.includes(row.id) && rows.get(row.id)?.state === 'running') open()
  }
  engine.addEventListener('rows', onRows)
  open()
  return () => {
    attempt += 1
    close()
    engine.removeEventListener('rows', onRows)
  }
}
