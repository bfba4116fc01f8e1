// One container: what it uses and is, its log, a terminal in it.
import { h, icon, put, text } from '../dom.js'
import { ask, engine, rows, samples, state as link } from '../engine.js'
import { memory, percent, ports, rate, short, stamp } from '../format.js'
import { badge, buttons, doing, empty, failed, waiting } from '../parts.js'
import { chart } from '../plot.js'
import { show as showLog } from './logs.js'
import { show as showTerminal } from './terminal.js'

const TABS = { overview: 'Overview', logs: 'Logs', terminal: 'Terminal' }

export function show(main, id, tab = 'overview') {
  const name = h('h1', null)
  const image = h('p.about', null)
  const state = h('span', null)
  const tools = h('div.tools', null)
  const tabs = h('div.tabs', { role: 'tablist', ariaLabel: 'About this container' })
  const panel = h('div.panel', { id: 'panel', role: 'tabpanel', tabIndex: -1 })
  put(main, h('header.head.one', null,
    h('div', null, h('a.back', { href: '#/containers' }, icon('back'), 'Containers'), h('div.title', null, name, state), image), tools), tabs, panel)
  for (const [key, words] of Object.entries(TABS)) {
    tabs.append(h('a', { href: `#/containers/${id}${key === 'overview' ? '' : `/${key}`}`, role: 'tab', id: `tab-${key}`, 'aria-selected': String(key === tab), tabIndex: key === tab ? 0 : -1, 'aria-controls': 'panel' }, words))
  }
  tabs.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!step) return
    const all = [...tabs.children]
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length]
    next.focus()
    next.click()
  })
  panel.setAttribute('aria-labelledby', `tab-${tab}`)

  let leave = () => {}
  let drawn = ''
  let there = false

  function change(force = false) {
    const row = rows.get(id)
    if (!row) {
      put(tools)
      if (!there && link.link === 'connecting') {
        put(panel, waiting('Looking …'))
        return
      }
      if (!there) put(panel, empty('No such container', 'It may have been removed.'))
      put(state, h('span.badge.off', null, 'removed'))
      if (!name.textContent) text(name, short(id))
      return
    }
    text(name, row.name)
    text(image, `${row.image} · ${short(row.id)} · ${doing(row.id) ?? row.status}`)
    document.title = `${row.name} – minidock`
    put(state, badge(row))
    const wanted = `${row.state}`
    if (wanted !== drawn || force) {
      const focused = tools.contains(document.activeElement) ? [...tools.children].indexOf(document.activeElement) : -1
      put(tools, buttons(row, true))
      const next = focused >= 0 && tools.children[Math.min(focused, tools.children.length - 1)]
      if (next && !next.disabled) next.focus()
      else if (focused >= 0) name.focus?.()
      if (wanted !== drawn && there && tab === 'overview') restart()
      drawn = wanted
    }
    if (!there) {
      there = true
      restart()
    }
  }

  function restart() {
    leave()
    const row = rows.get(id)
    leave = { overview: showOverview, logs: showLog, terminal: showTerminal }[tab](panel, row) ?? (() => {})
  }

  const onRows = () => change()
  const onBusy = ({ detail }) => detail === id && change(true)
  engine.addEventListener('rows', onRows)
  document.addEventListener('busy', onBusy)
  change()
  return () => {
    leave()
    engine.removeEventListener('rows', onRows)
    document.removeEventListener('busy', onBusy)
  }
}

function showOverview(panel, row) {
  const charts = row.running ? [
    chart('CPU', ['CPU'], 5, percent),
    chart('Memory', ['memory'], 1 << 20, memory),
    chart('Network', ['in', 'out'], 1000, rate),
  ] : []
  const facts = h('div.facts', null, waiting('Looking …'))
  put(panel, h('div.charts', null, charts.map((one) => one.element)), facts)

  function measure() {
    const list = samples.get(row.id) ?? []
    const last = list.at(-1)
    if (!last || !charts.length) return
    const limit = last.limit ? ` of ${memory(last.limit)}` : ''
    charts[0].draw([list.map((one) => one.cpu)], percent(last.cpu))
    charts[1].draw([list.map((one) => one.memory)], `${memory(last.memory)}${limit}`)
    charts[2].draw([list.map((one) => one.down), list.map((one) => one.up)], `↓ ${rate(last.down)}  ↑ ${rate(last.up)}`)
  }
  engine.addEventListener('stats', measure)
  measure()
  ask(`containers/${row.id}`).then((found) => put(facts, details(row, found)), (error) => put(facts, failed('This container cannot be looked at', error)))
  return () => engine.removeEventListener('stats', measure)
}

function details(row, found) {
  const list = (pairs) => h('dl', null, pairs.filter(([, value]) => value !== null && value !== '' && value !== false && value?.length !== 0)
    .map(([key, value]) => h('div', null, h('dt', null, key), h('dd', null, value))))
  const mono = (words) => h('code', null, words)
  const limits = [found.memory ? `memory ${memory(found.memory)}` : '', found.nano_cpus ? `${found.nano_cpus / 1e9} CPUs` : ''].filter(Boolean).join(', ')
  const ended = row.running ? null : row.state === 'created' ? null : `${found.exit_code}${found.oom_killed ? ' (out of memory)' : ''}`
  return [
    h('section', null, h('h2', null, 'Process'), list([
      ['Command', mono([found.path, ...found.args].join(' '))],
      ['Started', found.started ? stamp(found.started) : null],
      ['Ended', row.running ? null : stamp(found.finished)],
      ['Exit code', ended],
      ['Error', found.error],
      ['Health', found.health],
      ['Restarts', found.restarts ? String(found.restarts) : null],
      ['Restart policy', found.restart || 'no'],
      ['User', found.user],
      ['Directory', found.workdir && mono(found.workdir)],
      ['Limits', limits],
      ['Privileged', found.privileged && 'yes'],
    ])),
    h('section', null, h('h2', null, 'Place'), list([
      ['Id', mono(row.id)],
      ['Created', stamp(found.created)],
      ['Host name', found.hostname && mono(found.hostname)],
      ['Networks', row.networks.map(([name, , address]) => h('span.line', null, h('a', { href: '#/networks' }, name), address && h('code', null, ` ${address}`)))],
      ['Ports', ports(row.ports).map((port) => h('span.line', null, mono(port)))],
      ['Mounts', found.mounts.map(([kind, source, target, writable]) => h('span.line', null,
        mono(`${source ? `${source} → ` : ''}${target}`), h('span.sub', null, ` ${kind}${writable ? '' : ', read-only'}`)))],
      ['Log driver', found.log_driver],
      ['Labels', Object.entries(row.labels).map(([key, value]) => h('span.line', null, mono(`${key}=${value}`)))],
    ])),
  ]
}
