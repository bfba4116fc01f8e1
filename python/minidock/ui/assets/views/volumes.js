// Volumes, who has them, and how large they are.
import { h, put } from '../dom.js'
import { ask, rows } from '../engine.js'
import { ago, moment, plural, size } from '../format.js'
import { code, empty, failed, head, search, waiting } from '../parts.js'
import { refetching } from './images.js'

export function show(main) {
  let all = []
  let sizes = null
  let measured = ''
  let words = ''
  let left = false
  const box = search('Search volumes', (found) => {
    words = found
    draw()
  })
  const place = h('div', null, waiting('Looking …'))
  const about = h('p.about', null)
  const top = head('Volumes', null, box)
  top.firstChild.append(about)
  put(main, top, place)

  function draw() {
    const bytes = sizes && Object.values(sizes).reduce((sum, one) => sum + one, 0)
    about.textContent = all.length ? `${plural(all.length, 'volume')}${bytes === null ? '' : `, ${size(bytes)} on disk`}` : ''
    const found = all.filter((one) => `${one.name}\n${one.mountpoint}`.toLowerCase().includes(words))
    if (!found.length) {
      put(place, all.length ? empty('No volume matches') : empty('No volumes yet', h('p', null, 'Make one in a terminal: ', code('minidock volume create data'))))
      return
    }
    put(place, h('div.scroll', null, h('table.list', null, h('caption.unseen', null, 'Volumes'),
      h('thead', null, h('tr', null, ['Name', 'Size', 'Containers', 'Directory', 'Made'].map((one) => h(one === 'Size' ? 'th.num' : 'th', { scope: 'col' }, one)))),
      h('tbody', null, found.map(line)))))
  }

  function line(one) {
    const users = [...rows.values()].filter((row) => row.mounts.some(([kind, source]) => kind === 'volume' && source === one.name))
    const made = Date.parse(one.created)
    return h('tr', null,
      h('td.who', null, h('span.name', null, one.anonymous ? `${one.name.slice(0, 12)} …` : one.name),
        h('span.sub', { title: one.name }, [one.anonymous ? 'anonymous' : one.driver, ...Object.entries(one.options).map(([key, value]) => `${key}=${value}`)].join(' · '))),
      h('td.num', null, sizes === null ? '…' : one.name in sizes ? size(sizes[one.name]) : '–'),
      h('td', null, users.length ? users.map((row) => h('a.line', { href: `#/containers/${row.id}` }, row.name)) : h('span.sub', null, 'none')),
      h('td', null, h('code.path', null, one.mountpoint)),
      h('td', { title: moment(made) }, ago(made)))
  }

  const stop = refetching('volume', 'volumes', (found) => {
    all = found
    draw()
    // Measuring takes its time: only when there are others than those that were measured, not whenever one is mounted.
    const names = all.map((one) => one.name).join('/')
    if (names === measured || !all.length) return
    measured = names
    ask('volumes?sizes=1').then((found) => {
      sizes = found
      if (!left) draw()
    }, () => {
      sizes = {}
      if (!left) draw()
    })
  }, (error, again) => put(place, failed('Volumes cannot be listed', error, again)), () => all.length && draw())
  return () => {
    left = true
    stop()
  }
}
