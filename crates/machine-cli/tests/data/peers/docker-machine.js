// Drives docker-machine with the npm package of that name and prints what it understood.
const { promisify } = require('util')
const Machine = require('docker-machine')
const call = (method, ...args) => promisify(Machine[method])(...args)
const failure = promise => promise.then(() => null, error => error.message)

;(async () => {
  const said = {}
  await call('create', 'n1', 'none', { url: 'tcp://127.0.0.1:1' })
  const list = await call('list', { timeout: 2, inspect: true })
  said.list = list.map(({ name, active, activeHost, driverName, state, url, swarm, dockerVersion, error, responseTime, driver }) => ({
    name, active, activeHost, driverName, state, url, swarm, dockerVersion, error,
    timed: responseTime >= 0, inspected: driver.url
  }))
  said.status = await call('status', 'n1')
  said.isRunning = await call('isRunning', 'n1')
  said.inspect = (await call('inspect', 'n1')).name
  said.start = await failure(call('start', 'n1'))
  said.stop = await failure(call('stop', 'n1'))
  said['start nosuch'] = await failure(call('start', 'nosuch'))
  said['env fails'] = /Error checking TLS connection/.test(await failure(call('env', 'n1', { parse: true })))
  await call('command', ['rm', '-y', 'n1'])
  said['after rm'] = await call('list', {})
  console.log(JSON.stringify(said))
})()
