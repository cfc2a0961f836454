// Drives docker-machine with dockermachine-cli-js, which passes HOME and PATH only, and prints what it understood.
const { DockerMachine, Options } = require('dockermachine-cli-js')
const machine = new DockerMachine(new Options({}, process.cwd()))
const failure = promise => promise.then(() => '', error => String(error))
console.error = () => {}

;(async () => {
  const said = {}
  await machine.command('create -d none --url tcp://127.0.0.1:1 n2')
  said.ls = (await machine.command('ls -t 2')).machineList
  said.inspect = (await machine.command('inspect n2')).machine.Name
  said.start = (await failure(machine.command('start n2'))).includes('already running')
  await machine.command('rm -y n2')
  said['after rm'] = (await machine.command('ls -t 2')).machineList
  said['inspect after rm'] = (await failure(machine.command('inspect n2'))).includes('does not exist')
  console.log(JSON.stringify(said))
})()
