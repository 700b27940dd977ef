// A device made with coap-node, an LwM2M 1.0 client of others, which knows nothing
// but the objects of the OMA. It registers with the server at the port given, pulls
// firmware over HTTP, and takes a while for everything. A package is the text of its
// version. It tells what it does by lines.
const http = require('http');
const SmartObject = require('smartobject');
const CoapNode = require('coap-node');

const so = new SmartObject();
let uri = '';
let image = '';

const become = (state, result) => {
  console.log(`state ${state} result ${result}`);
  so.write('firmware', 0, 'updateResult', result, () => so.write('firmware', 0, 'state', state, () => {}));
};

const fetch = () => http.get(uri, (answer) => {
  let body = '';
  answer.on('data', (chunk) => { body += chunk; });
  answer.on('end', () => {
    [image] = body.split(' '); // the rest is filling
    become(answer.statusCode === 200 ? 2 : 0, answer.statusCode === 200 ? 0 : 7);
  });
}).on('error', () => become(0, 4));

const install = () => so.write('device', 0, 'firmware', image, () => become(0, 1));

so.init('firmware', 0, {
  packageURI: {
    read: (done) => done(null, uri),
    write: (value, done) => {
      uri = value;
      done(null, value);
      become(uri ? 1 : 0, 0);
      if (uri) setTimeout(uri.startsWith('http:') ? fetch : () => become(0, 9), 300);
    },
  },
  update: {
    exec: (...args) => {
      args.pop()(null);
      become(3, 0);
      setTimeout(install, 300);
    },
  },
  state: 0,
  updateResult: 0,
  9: 0, // pull only
});

const node = new CoapNode('gadget', so, { lifetime: 300, version: '1.0.0', model: 'Gadget 3', firmware: '1.0.0' });
node.on('registered', () => console.log('registered'));
node.on('error', (error) => console.log(`error ${error}`));
node.register('127.0.0.1', Number(process.argv[2]), (error) => { if (error) console.log(`error ${error}`); });

process.stdin.on('close', () => process.exit(0)).resume();
