// Networks as a graph: networks on the left, containers on the right, in an order in which few lines cross.
import { h, put, s } from '../dom.js'
import { rows } from '../engine.js'
import { plural, short } from '../format.js'
import { empty, failed, head, waiting } from '../parts.js'
import { refetching } from './images.js'

const WIDTH = 860
const LEFT = 270
const RIGHT = 560
const ROW = 46
const HIGH = 38
const HUES = 8

export function show(main) {
  let all = []
  let drawn = ''
  const place = h('div', null, waiting('Looking …'))
  put(main, head('Networks', 'Lines show which container is on which network; dashed ones are of containers that do not run'), place)

  function draw() {
    const graph = graphOf(all)
    const now = JSON.stringify([all, graph.edges.map((edge) => [edge.network.id, edge.row.id, edge.row.name, edge.address, edge.row.running])])
    if (now === drawn) return
    drawn = now
    const focused = document.activeElement?.getAttribute?.('href')
    put(place, graph.edges.length ? h('div.scroll', null, picture(graph)) : empty('No container is on a network', 'Containers appear here with the networks that they are on.'), list(all, graph))
    if (focused) [...place.querySelectorAll('a')].find((one) => one.getAttribute('href') === focused)?.focus()
  }

  return refetching('network', 'networks', (found) => {
    all = found
    draw()
  }, (error, again) => put(place, failed('Networks cannot be listed', error, again)), () => all.length && draw())
}

function graphOf(all) {
  const byId = new Map(all.map((one) => [one.id, one]))
  const byName = new Map(all.map((one) => [one.name, one]))
  const edges = []
  for (const row of rows.values()) {
    for (const [name, id, address] of row.networks) {
      const network = byId.get(id) ?? byName.get(name)
      if (network && network.driver !== 'null') edges.push({ network, row, address })
    }
  }
  const networks = all.filter((one) => edges.some((edge) => edge.network === one))
  const place = new Map(networks.map((one, at) => [one.id, at]))
  const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length
  let containers = [...new Set(edges.map((edge) => edge.row))]
  // Each side is ordered by where its neighbours stand, twice: few lines cross.
  for (let turn = 0; turn < 3; turn += 1) {
    containers = containers.map((row) => [mean(edges.filter((edge) => edge.row === row).map((edge) => place.get(edge.network.id))), row])
      .sort(([one, a], [other, b]) => one - other || a.name.localeCompare(b.name, 'en', { numeric: true })).map(([, row]) => row)
    const at = new Map(containers.map((row, number) => [row, number]))
    networks.sort((one, other) => mean(edges.filter((edge) => edge.network === one).map((edge) => at.get(edge.row)))
      - mean(edges.filter((edge) => edge.network === other).map((edge) => at.get(edge.row))))
    networks.forEach((one, number) => place.set(one.id, number))
  }
  return { networks, containers, edges }
}

function picture({ networks, containers, edges }) {
  const right = new Map(containers.map((row, at) => [row, 8 + at * ROW]))
  const middle = (list) => list.reduce((sum, one) => sum + one, 0) / list.length
  // A network stands in the middle of its containers, below the one before.
  const left = new Map()
  let free = 8
  for (const network of networks) {
    const wanted = middle(edges.filter((edge) => edge.network === network).map((edge) => right.get(edge.row)))
    const at = Math.max(free, wanted)
    left.set(network, at)
    free = at + ROW + 12
  }
  const height = Math.max(8 + containers.length * ROW, free)
  const hue = new Map(networks.map((network, at) => [network, `hue${at % HUES}`]))
  const lines = edges.map((edge) => {
    const y = left.get(edge.network) + HIGH / 2
    const to = right.get(edge.row) + HIGH / 2
    const bend = (RIGHT - LEFT) / 2
    const line = s(`path.edge.${hue.get(edge.network)}${edge.row.running ? '' : '.dashed'}`, { d: `M${LEFT} ${y}C${LEFT + bend} ${y} ${RIGHT - bend} ${to} ${RIGHT} ${to}` })
    return { ...edge, line }
  })
  const highlight = (which) => {
    for (const one of lines) one.line.classList.toggle('faint', which !== null && one.network !== which && one.row !== which)
  }
  const node = (kind, where, x, width, href, title, sub, thing) => s(`a.node.${kind}`, {
    href, 'aria-label': `${title}, ${sub}`,
    onpointerenter: () => highlight(thing), onpointerleave: () => highlight(null), onfocus: () => highlight(thing), onblur: () => highlight(null),
  }, s('rect', { x, y: where, width, height: HIGH, rx: 8 }),
  s('text.title', { x: x + 12, y: where + 17 }, clip(title, 30)), s('text.sub', { x: x + 12, y: where + 31 }, clip(sub, 38)), s('title', {}, title))
  return s('svg.graph', { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: 'group', 'aria-label': `${plural(networks.length, 'network')} and ${plural(containers.length, 'container')}` },
    lines.map((one) => one.line),
    networks.map((one) => node(`net.${hue.get(one)}`, left.get(one), 8, LEFT - 8, '#/networks', one.name, [one.driver, one.subnets[0]?.[0], one.internal && 'internal'].filter(Boolean).join(' · '), one)),
    containers.map((row) => {
      const addresses = edges.filter((edge) => edge.row === row && edge.address).map((edge) => edge.address)
      return node(row.running ? 'box' : 'box.off', right.get(row), RIGHT, WIDTH - RIGHT - 8, `#/containers/${row.id}`, row.name, addresses.join(', ') || row.state, row)
    }))
}

const clip = (words, most) => (words.length > most ? `${words.slice(0, most - 1)}…` : words)

function list(all, { edges }) {
  return [h('h2', null, 'All networks'), h('div.scroll', null, h('table.list', null, h('caption.unseen', null, 'Networks'),
    h('thead', null, h('tr', null, ['Name', 'Driver', 'Subnets', 'Containers', 'Id'].map((one) => h(one === 'Id' ? 'th.more' : 'th', { scope: 'col' }, one)))),
    h('tbody', null, all.map((one) => {
      const users = edges.filter((edge) => edge.network === one)
      return h('tr', null, h('td.who', null, h('span.name', null, one.name), one.internal && h('span.sub', null, 'internal')), h('td', null, one.driver),
        h('td', null, one.subnets.length ? one.subnets.map(([subnet, gateway]) => h('span.line', null, h('code', null, subnet), gateway && h('span.sub', null, ` gateway ${gateway}`))) : h('span.sub', null, 'none')),
        h('td', null, users.length ? users.slice(0, 5).map((edge) => h('a.line', { href: `#/containers/${edge.row.id}` }, edge.row.name)) : h('span.sub', null, 'none'),
          users.length > 5 && h('span.sub', null, `and ${users.length - 5} more`)),
        h('td.more', null, h('code', null, short(one.id))))
    }))))]
}
