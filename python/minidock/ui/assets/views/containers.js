// The list of containers. Rows are made once and changed where something has changed; plots are drawn where they are seen.
import { h, put, text } from '../dom.js'
import { engine, rows, samples, state as link } from '../engine.js'
import { memory, percent, ports, rate } from '../format.js'
import { badge, buttons, code, doing, empty, failed, head, search, verbs, waiting } from '../parts.js'
import { spark } from '../plot.js'

const order = new Intl.Collator('en', { numeric: true }).compare
const chosen = { words: '', only: 'all' }

export function show(main) {
  const shown = new Map() // id → row
  const seen = new Set() // rows within the window
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const id = entry.target.dataset.id
      if (!entry.isIntersecting) seen.delete(id)
      else if (!seen.has(id)) {
        seen.add(id)
        shown.get(id)?.measure()
      }
    }
  }, { rootMargin: '200px' })

  const box = search('Search name, image, label', (words) => {
    chosen.words = words
    arrange()
  })
  box.value = chosen.words
  const choices = ['all', 'running', 'stopped'].map((name) => h('button', {
    type: 'button',
    onclick: () => {
      chosen.only = name
      arrange()
    },
  }))
  const body = h('tbody', null)
  const table = h('table.list.containers', null, h('caption.unseen', null, 'Containers'),
    h('thead', null, h('tr', null,
      h('th', { scope: 'col' }, 'Name'), h('th', { scope: 'col' }, 'State'),
      h('th.num', { scope: 'col' }, 'CPU'), h('th.num', { scope: 'col' }, 'Memory'), h('th.num', { scope: 'col' }, 'Network'),
      h('th', { scope: 'col' }, 'Ports'), h('th', { scope: 'col' }, h('span.unseen', null, 'Actions')))),
    body)
  const nothing = h('div', null)
  const totals = h('p.about', null)
  const top = head('Containers', null, h('div.choices', { role: 'group', ariaLabel: 'Which containers' }, choices), box)
  top.firstChild.append(totals)
  put(main, top, h('div.scroll', null, table), nothing)

  function passes(row) {
    if (chosen.only === 'running' && !row.running) return false
    if (chosen.only === 'stopped' && row.running) return false
    return chosen.words === '' || row.words.includes(chosen.words)
  }

  /** Put the rows that pass in order; those that are there already stay where they are. */
  function arrange() {
    const wanted = [...rows.values()].filter(passes).sort((one, other) => order(one.name, other.name) || order(one.id, other.id))
    const keep = new Set(wanted.map((row) => row.id))
    for (const [id, one] of shown) {
      if (keep.has(id)) continue
      watch.unobserve(one.element)
      seen.delete(id)
      one.element.remove()
      shown.delete(id)
    }
    let at = body.firstChild
    for (const row of wanted) {
      let one = shown.get(row.id)
      if (!one) {
        one = line(row)
        shown.set(row.id, one)
        watch.observe(one.element)
      }
      if (one.element === at) at = at.nextSibling
      else body.insertBefore(one.element, at)
    }
    const running = [...rows.values()].filter((row) => row.running).length
    const counts = { all: rows.size, running, stopped: rows.size - running }
    for (const [at, name] of ['all', 'running', 'stopped'].entries()) {
      text(choices[at], `${name[0].toUpperCase()}${name.slice(1)} ${counts[name]}`)
      choices[at].ariaPressed = String(chosen.only === name)
    }
    table.hidden = wanted.length === 0
    put(nothing, wanted.length ? null : link.trouble ? failed('Containers cannot be listed', { message: link.trouble })
      : link.link === 'connecting' ? waiting('Looking …') : rows.size === 0
      ? empty('No containers yet', h('p', null, 'Start one in a terminal, and it appears here: ', code('minidock run -d --name web nginx')))
      : empty('No container matches', 'Change the search, or choose All.'))
  }

  const onRows = ({ detail }) => {
    for (const id of detail.changed) shown.get(id)?.change(rows.get(id))
    arrange()
  }
  function sum() {
    const running = [...rows.values()].filter((row) => row.running).length
    const last = [...samples.values()].map((list) => list.at(-1))
    const all = (name) => last.reduce((so, one) => so + one[name], 0)
    text(totals, running ? `${running} running, with ${percent(all('cpu'))} CPU and ${memory(all('memory'))} of memory in all` : 'None runs')
  }

  const onStats = () => {
    sum()
    for (const id of seen) shown.get(id)?.measure()
  }
  const onBusy = ({ detail }) => shown.get(detail)?.change(rows.get(detail), true)
  engine.addEventListener('rows', onRows)
  engine.addEventListener('link', arrange)
  engine.addEventListener('stats', onStats)
  document.addEventListener('busy', onBusy)
  arrange()
  sum()
  return () => {
    watch.disconnect()
    engine.removeEventListener('rows', onRows)
    engine.removeEventListener('link', arrange)
    engine.removeEventListener('stats', onStats)
    document.removeEventListener('busy', onBusy)
  }
}

/** One row of the table. */
function line(row) {
  const link = h('a.name', { href: `#/containers/${row.id}` })
  const image = h('span.sub', null)
  const state = h('td.state', null)
  const place = h('td.ports', null)
  const actions = h('td.deeds', null)
  const meters = [meter('CPU'), meter('Memory'), meter('Network')]
  const element = h('tr', { tabIndex: -1 }, h('td.who', null, link, image), state, meters.map((one) => one.cell), place, actions)
  element.dataset.id = row.id
  let drawn = ''

  function change(now, force = false) {
    if (!now) return
    row = now
    text(link, row.name)
    text(image, row.image)
    image.title = row.image
    put(state, badge(row), h('span.sub', { title: row.status }, doing(row.id) ?? row.status))
    put(place, ports(row.ports).slice(0, 3).map((port) => h('span.port', null, port)))
    if (ports(row.ports).length > 3) place.append(h('span.sub', null, `and ${ports(row.ports).length - 3} more`))
    // Buttons stay as long as they are the same ones: the focus may be on one of them.
    const wanted = verbs(row, false).join()
    if (wanted !== drawn || force) {
      const focused = actions.contains(document.activeElement) ? [...actions.children].indexOf(document.activeElement) : -1
      put(actions, buttons(row))
      drawn = wanted
      if (focused >= 0) {
        const next = actions.children[Math.min(focused, actions.children.length - 1)]
        if (next.disabled) link.focus()
        else next.focus()
      }
    }
    measure()
  }

  function measure() {
    const list = samples.get(row.id)
    const last = list?.at(-1)
    if (!last || !row.running) {
      for (const one of meters) one.draw([], 1, '')
      return
    }
    meters[0].draw(list.map((one) => one.cpu), 5, percent(last.cpu))
    meters[1].draw(list.map((one) => one.memory), 1 << 20, memory(last.memory))
    meters[2].draw(list.map((one) => one.net), 1000, rate(last.net))
  }

  change(row)
  return { element, change, measure }
}

function meter(name) {
  const plot = spark(`${name} of the last two minutes`)
  const value = h('span.value', null)
  return {
    cell: h('td.meter', null, h('div', null, plot.element, value)),
    draw(values, least, words) {
      text(value, words)
      plot.element.classList.toggle('none', words === '')
      plot.draw(values, least)
    },
  }
}
