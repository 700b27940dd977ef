// A device made with coap-node, an LwM2M 1.0 client. It registers with the server
// at the port given, tells by lines of JSON what is done to it, and takes a new
// temperature by a line.
const SmartObject = require('smartobject');
const CoapNode = require('coap-node');

const tell = (event) => console.log(JSON.stringify(event));

const so = new SmartObject();
so.init('temperature', 0, { sensorValue: 21.5, units: 'Cel' });
let dimmer = 10;
so.init('lightCtrl', 0, {
  onOff: false,
  dimmer: {
    read: (done) => done(null, dimmer),
    write: (value, done) => { dimmer = value; tell({ event: 'written', value }); done(null, value); },
  },
});
so.init('buzzer', 0, {
  onOff: false,
  5523: { exec: (...args) => { const done = args.pop(); tell({ event: 'executed' }); done(null); } },
});

const node = new CoapNode('coap-node', so, { lifetime: 300, version: '1.0.0' });
node.on('registered', () => tell({ event: 'registered' }));
node.on('error', (error) => tell({ event: 'error', value: String(error) }));
node.register('127.0.0.1', Number(process.argv[2]), (error, answer) => tell({ event: 'answer', value: error ? String(error) : answer.status }));

require('readline').createInterface({ input: process.stdin })
  .on('line', (line) => so.write('temperature', 0, 'sensorValue', Number(line), () => {}))
  .on('close', () => process.exit(0));
