// Azure's SDKs against the hub at process.argv[2]: what they do and what they get is checked here; the process ends with
// an error if something is wrong. NODE_EXTRA_CA_CERTS has who has issued the hub's certificate.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const https = require('node:https');
const { Client, ModuleClient, Message, SharedAccessSignature } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const hub = require('azure-iothub');
const common = require('azure-iot-common');

const [, , host, owner, cert, key] = process.argv;
const ca = fs.readFileSync(process.env.NODE_EXTRA_CA_CERTS, 'utf8');
const registry = hub.Registry.fromConnectionString(owner);
const service = hub.Client.fromConnectionString(owner);
const jobs = hub.JobClient.fromConnectionString(owner);

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const fails = (promise, name) => assert.rejects(promise, (err) => {
  assert.strictEqual(err.name, name, err.message);
  return true;
});

async function until(what, condition) {
  for (;;) {
    const value = await condition();
    if (value) return value;
    await pause(20);
  }
}

async function connect(text, transport) {
  const client = Client.fromConnectionString(text, transport || Mqtt);
  await client.setOptions({ ca });
  return client;
}

const text = (device) => `HostName=${host};DeviceId=${device.deviceId};SharedAccessKey=${device.authentication.symmetricKey.primaryKey}`;

async function create(id) {
  const { responseBody } = await registry.create({ deviceId: id, status: 'enabled' });
  return responseBody;
}

const steps = {
  async registry() {
    const device = await create('registered');
    assert.ok(device.authentication.symmetricKey.secondaryKey && device.generationId && device.etag);
    await fails(registry.create({ deviceId: 'registered' }), 'DeviceAlreadyExistsError');
    await fails(registry.get('nobody'), 'DeviceNotFoundError');
    const { responseBody: updated } = await registry.update({ deviceId: 'registered', status: 'disabled', statusReason: 'test' });
    assert.strictEqual(updated.status, 'disabled');
    const { responseBody: many } = await registry.addDevices([{ deviceId: 'many1' }, { deviceId: 'many2' }]);
    assert.strictEqual(many.isSuccessful, true);
    const { responseBody: list } = await registry.list();
    assert.deepStrictEqual(list.map((d) => d.deviceId).filter((id) => id.startsWith('many')), ['many1', 'many2']);
    await registry.removeDevices([{ deviceId: 'many1' }, { deviceId: 'many2' }], true);
    await registry.delete('registered');
    const { responseBody: statistics } = await registry.getRegistryStatistics();
    assert.strictEqual(typeof statistics.totalDeviceCount, 'number');
  },

  async twins() {
    const client = await connect(text(await create('twin')));
    await client.open();
    const twin = await client.getTwin();
    const patch = once(twin, 'properties.desired.colour');
    await new Promise((resolve, reject) => twin.properties.reported.update({ state: 'on', nested: { a: 1 } }, (err) => (err ? reject(err) : resolve())));
    const wrong = await new Promise((resolve) => twin.properties.reported.update({ 'a.b': 1 }, resolve));
    assert.match(wrong.message, /a\.b/);
    const { responseBody: seen } = await registry.getTwin('twin');
    assert.strictEqual(seen.properties.reported.nested.a, 1);
    await registry.updateTwin('twin', { tags: { site: 'north' }, properties: { desired: { colour: 'red' } } }, seen.etag);
    assert.strictEqual(await patch, 'red');
    await fails(registry.updateTwin('twin', { tags: { site: 'south' } }, seen.etag), 'InvalidEtagError');
    await fails(registry.getTwin('nobody'), 'DeviceNotFoundError');
    const gone = new Promise((resolve) => twin.on('properties.desired', (delta) => delta.size && resolve(delta))); // first come those that it has
    await registry.getTwin('twin').then(({ responseBody }) => new Promise((resolve, reject) => {
      const req = https.request({ host, method: 'PUT', path: '/twins/twin?api-version=2021-04-12', ca, headers: { Authorization: token(), 'If-Match': `"${responseBody.etag}"`, 'Content-Type': 'application/json' } }, (res) => {
        res.resume();
        res.on('end', () => (res.statusCode === 200 ? resolve() : reject(new Error(res.statusCode))));
      });
      req.on('error', reject);
      req.end(JSON.stringify({ properties: { desired: { size: 7 } } }));
    }));
    const delta = await gone;
    assert.strictEqual(delta.colour, null);
    await client.close();
  },

  async methods() {
    const client = await connect(text(await create('method')));
    await client.open();
    client.onDeviceMethod('blink', (request, response) => response.send(200, { got: request.payload }));
    const call = (payload) => service.invokeDeviceMethod('method', { methodName: 'blink', payload, responseTimeoutInSeconds: 30, connectTimeoutInSeconds: 30 });
    const { result } = await call({ times: 3 });
    assert.deepStrictEqual(result, { status: 200, payload: { got: { times: 3 } } });
    assert.deepStrictEqual((await call()).result.payload, { got: null });
    await create('silent');
    await assert.rejects(service.invokeDeviceMethod('silent', { methodName: 'blink' }), /404103|Not found/);
    await client.close();
  },

  async messages() {
    const client = await connect(text(await create('message')));
    await send('message', { 'iothub-messageid': 'm1', 'iothub-app-colour': 'röt', 'iothub-ack': 'full' }, 'hello');
    const received = once(client, 'message');
    await client.open();
    const message = await received;
    assert.strictEqual(message.getData().toString(), 'hello');
    assert.strictEqual(message.messageId, 'm1');
    assert.strictEqual(message.properties.getValue('colour'), 'röt');
    await client.complete(message);
    await until('the queue is empty', async () => (await registry.get('message')).responseBody.cloudToDeviceMessageCount === 0);
    const event = new Message(JSON.stringify({ temperature: 21 }));
    event.properties.add('alarm', 'no & yes');
    event.contentType = 'application/json';
    event.contentEncoding = 'utf-8';
    event.messageId = 'event-1';
    await client.sendEvent(event); // the test reads what has become of it
    await client.sendEvent(new Message('one'));
    await client.sendEvent(new Message('two'));
    await client.close();
  },

  async modules() {
    await create('modular');
    await registry.addModule({ deviceId: 'modular', moduleId: 'mod' });
    const { responseBody: module } = await registry.getModule('modular', 'mod');
    const client = ModuleClient.fromConnectionString(`HostName=${host};DeviceId=modular;ModuleId=mod;SharedAccessKey=${module.authentication.symmetricKey.primaryKey}`, Mqtt);
    await client.setOptions({ ca });
    await client.open();
    const twin = await client.getTwin();
    const changed = once(twin, 'properties.desired.x');
    client.onMethod('who', (request, response) => response.send(200, 'mod'));
    await registry.updateModuleTwin('modular', 'mod', { properties: { desired: { x: 1 } } }, '*');
    assert.strictEqual(await changed, 1);
    const { result } = await service.invokeDeviceMethod('modular', 'mod', { methodName: 'who', connectTimeoutInSeconds: 30 });
    assert.strictEqual(result.payload, 'mod');
    assert.strictEqual((await registry.getModulesOnDevice('modular')).responseBody.length, 1);
    await client.close();
    await registry.removeModule('modular', 'mod');
  },

  async queries() {
    for (let i = 0; i < 5; i++) {
      await create(`queried${i}`);
      await registry.updateTwin(`queried${i}`, { tags: { queried: i } }, '*');
    }
    const query = registry.createQuery('SELECT * FROM devices WHERE tags.queried >= 1', 2);
    const ids = [];
    while (query.hasMoreResults) {
      const { result } = await query.nextAsTwin();
      ids.push(...result.map((twin) => twin.deviceId));
    }
    assert.deepStrictEqual(ids, ['queried1', 'queried2', 'queried3', 'queried4']);
    const { result } = await registry.createQuery('SELECT COUNT() AS n FROM devices WHERE IS_DEFINED(tags.queried)').next();
    assert.deepStrictEqual(result, [{ n: 5 }]);
    await fails(registry.createQuery('SELECT').next(), 'ArgumentError');
  },

  async jobs() {
    const client = await connect(text(await create('worker')));
    await client.open();
    client.onDeviceMethod('work', (request, response) => response.send(200, { done: true }));
    const ended = (id) => until(id, async () => {
      const { jobStatus } = await jobs.getJob(id);
      return jobStatus.status === 'completed' && jobStatus;
    });
    await jobs.scheduleTwinUpdate('job-twin', "deviceId = 'worker'", { tags: { job: 1 } }, new Date(), 60);
    assert.strictEqual((await ended('job-twin')).deviceJobStatistics.succeededCount, 1);
    await until('it takes methods', async () => service.invokeDeviceMethod('worker', { methodName: 'work', connectTimeoutInSeconds: 30 }));
    await jobs.scheduleDeviceMethod('job-method', "deviceId = 'worker'", { methodName: 'work', payload: null, responseTimeoutInSeconds: 30 }, new Date(), 60);
    assert.strictEqual((await ended('job-method')).deviceJobStatistics.succeededCount, 1);
    const { result: outcomes } = await registry.createQuery("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'job-method'").next();
    assert.deepStrictEqual(outcomes[0].outcome.deviceMethodResponse, { status: 200, payload: { done: true } });
    await jobs.scheduleTwinUpdate('job-later', '*', { tags: { job: 2 } }, new Date(Date.now() + 3600e3), 60);
    const { jobStatus } = await jobs.cancelJob('job-later');
    assert.strictEqual(jobStatus.status, 'cancelled');
    const { result } = await jobs.createQuery('scheduleUpdateTwin', 'completed').next();
    assert.deepStrictEqual(result.map((job) => job.jobId), ['job-twin']);
    await client.close();
  },

  async configurations() {
    await create('configured');
    await registry.updateTwin('configured', { tags: { configured: true } }, '*');
    await registry.addConfiguration({
      id: 'fast', targetCondition: 'tags.configured = true', priority: 10, labels: {},
      content: { deviceContent: { 'properties.desired.speed': 9 } }, metrics: { queries: { all: 'SELECT deviceId FROM devices' } },
    });
    await until('it is applied', async () => (await registry.getConfiguration('fast')).responseBody.systemMetrics.results.appliedCount === 1);
    assert.strictEqual((await registry.getTwin('configured')).responseBody.properties.desired.speed, 9);
    const { responseBody: configuration } = await registry.getConfiguration('fast');
    configuration.priority = 11;
    await registry.updateConfiguration(configuration);
    assert.strictEqual((await registry.getConfigurations()).responseBody.length, 1);
    await registry.removeConfiguration('fast');
    await until('it is taken back', async () => (await registry.getTwin('configured')).responseBody.properties.desired.speed === undefined);
    await registry.applyConfigurationContentOnDevice('configured', { deviceContent: { 'properties.desired.once': 1 } });
    assert.strictEqual((await registry.getTwin('configured')).responseBody.properties.desired.once, 1);
  },

  async websocket() {
    const client = await connect(text(await create('socket')), MqttWs);
    await client.open();
    const twin = await client.getTwin();
    await new Promise((resolve, reject) => twin.properties.reported.update({ over: 'websocket' }, (err) => (err ? reject(err) : resolve())));
    await client.close();
    assert.strictEqual((await registry.getTwin('socket')).responseBody.properties.reported.over, 'websocket');
  },

  async certificate() {
    await registry.create({ deviceId: 'certified', authentication: { type: 'certificateAuthority' } });
    const client = Client.fromConnectionString(`HostName=${host};DeviceId=certified;x509=true`, Mqtt);
    await client.setOptions({ ca, cert: fs.readFileSync(cert, 'utf8'), key: fs.readFileSync(key, 'utf8') });
    await client.open();
    await client.getTwin();
    await client.close();
  },

  // The SDK connects anew with the next token, and does not subscribe again.
  async renewal() {
    const device = await create('renewed');
    const sas = () => SharedAccessSignature.create(host, 'renewed', device.authentication.symmetricKey.primaryKey, Math.floor(Date.now() / 1000) + 3600).toString();
    const client = Client.fromSharedAccessSignature(sas(), Mqtt);
    await client.setOptions({ ca });
    await client.open();
    const twin = await client.getTwin();
    await client.updateSharedAccessSignature(sas());
    await new Promise((resolve, reject) => twin.properties.reported.update({ renewed: true }, (err) => (err ? reject(err) : resolve())));
    const changed = once(twin, 'properties.desired.after');
    await registry.updateTwin('renewed', { properties: { desired: { after: 1 } } }, '*');
    assert.strictEqual(await changed, 1);
    await client.close();
  },

  async strangers() {
    const device = await create('stranger');
    device.authentication.symmetricKey.primaryKey = Buffer.from('x'.repeat(32)).toString('base64');
    await fails((await connect(text(device))).open(), 'UnauthorizedError');
    const read = hub.Registry.fromConnectionString(owner.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.from('y'.repeat(32)).toString('base64')}`));
    await fails(read.get('stranger'), 'UnauthorizedError');
  },
};

const token = () => {
  const parts = common.ConnectionString.parse(owner);
  return common.SharedAccessSignature.create(host, parts.SharedAccessKeyName, parts.SharedAccessKey, Math.floor(Date.now() / 1000) + 3600).toString();
};

function send(device, headers, body) {
  return new Promise((resolve, reject) => {
    const req = https.request({ host, method: 'POST', path: `/devices/${device}/messages/deviceBound?api-version=2021-04-12`, ca, headers: { Authorization: token(), ...headers } }, (res) => {
      res.resume();
      res.on('end', () => (res.statusCode === 201 ? resolve() : reject(new Error(`status ${res.statusCode}`))));
    });
    req.on('error', reject);
    req.end(body);
  });
}

(async () => {
  for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log(`ok ${name}`);
  }
  process.exit(0);
})().catch((err) => {
  console.error(err);
  process.exit(1);
});
