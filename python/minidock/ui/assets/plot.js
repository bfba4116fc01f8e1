// Plots: a line for a row, an area with its scale for the page of one container.
import { s, text } from './dom.js'

const WIDTH = 120
const HEIGHT = 28

/** A small line; `draw(values, top)` draws it again. `top` is the least that the height stands for. */
export function spark(label) {
  const area = s('path.area', {})
  const line = s('path.line', {})
  const element = s('svg.spark', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label }, area, line)
  let drawn = ''
  return {
    element,
    draw(values, least, points = 60) {
      const path = trace(values.slice(-points), least, points, WIDTH, HEIGHT)
      if (path === drawn) return
      drawn = path
      line.setAttribute('d', path)
      area.setAttribute('d', path && closed(path, values.slice(-points).length, points, WIDTH, HEIGHT))
    },
  }
}

function trace(values, least, points, width, height) {
  if (values.length < 2) return ''
  const top = Math.max(least, ...values)
  const step = width / (points - 1)
  const first = width - (values.length - 1) * step
  return values.map((value, at) => {
    const x = (first + at * step).toFixed(1)
    const y = (height - 1.5 - (value / top) * (height - 3)).toFixed(1)
    return `${at ? 'L' : 'M'}${x} ${y}`
  }).join('')
}

function closed(path, count, points, width, height) {
  const first = width - (count - 1) * (width / (points - 1))
  return `${path}L${width} ${height}L${first.toFixed(1)} ${height}Z`
}

/** A plot with a scale: `draw(lists, words)`, a list of values for each of `names`. */
export function chart(title, names, least, scale) {
  const width = 480
  const height = 132
  const lines = names.map((_, at) => s(`path.line.line${at}`, {}))
  const area = s('path.area', {})
  const now = document.createElement('strong')
  const grid = [0.25, 0.5, 0.75].map((part) => s('path.grid', { d: `M0 ${height * part}H${width}` }))
  const head = document.createElement('figcaption')
  const name = document.createElement('span')
  name.textContent = title
  head.append(name, now)
  const picture = s('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, grid, area, lines)
  const figure = document.createElement('figure')
  figure.className = 'chart'
  const legend = document.createElement('p')
  legend.className = 'scale'
  figure.append(head, picture, legend)
  return {
    element: figure,
    draw(lists, words) {
      const points = 150
      const most = Math.max(least, ...lists.flat())
      lists.forEach((values, at) => lines[at].setAttribute('d', trace(values.slice(-points), most, points, width, height)))
      const count = Math.min(lists[0].length, points)
      const path = trace(lists[0].slice(-points), most, points, width, height)
      area.setAttribute('d', path && closed(path, count, points, width, height))
      text(now, words)
      text(legend, lists[0].length > 1 ? `last 5 minutes · full height ${scale(most)}` : 'waiting for the second look …')
    },
  }
}
