// A management server made with lwm2m-node-lib (LwM2M 1.0). It listens at the port
// given, tells by lines of JSON who registers and what is notified, and takes
// operations by lines of JSON, each answered by one.
const { server } = require('lwm2m-node-lib');

const tell = (event) => console.log(JSON.stringify(event));
const config = {
  port: Number(process.argv[2]),
  lifetimeCheckInterval: 1000,
  udpWindow: 100,
  defaultType: 'Device',
  types: [],
  logLevel: 'FATAL',
  ipProtocol: 'udp4',
  serverProtocol: 'udp4',
  formats: [{ name: 'text/plain', value: 0 }],
  writeFormat: 'text/plain',
  defaultAcceptFormat: 'text/plain',
};

server.start(config, (error, info) => {
  if (error) throw error;
  server.setHandler(info, 'registration', (endpoint, lifetime, version, binding, payload, done) => {
    tell({ event: 'registered', endpoint, value: `${lifetime} ${version} ${payload}` });
    done();
  });
  server.setHandler(info, 'updateRegistration', (device, done) => { tell({ event: 'updated', endpoint: device.name }); done(); });
  server.setHandler(info, 'unregistration', (device, done) => { tell({ event: 'deregistered', endpoint: device.name }); done(); });
  tell({ event: 'listening' });
});

require('readline').createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { operation, endpoint, arguments: more } = JSON.parse(line);
    server.getDevice(endpoint, (error, device) => {
      if (error) return tell({ event: operation, value: String(error) });
      const answer = (e, value) => tell({ event: operation, value: e ? `${e.name} ${e.code}` : String(value) });
      if (operation === 'observe') more.push((value) => tell({ event: 'notified', value }));
      server[operation](device.id, ...more, answer);
    });
  })
  .on('close', () => process.exit(0));
