// A state transform: settings.conf of schema 1 has interval=SECONDS, that of
// schema 2 has interval_ms=MILLISECONDS.

const chunk = new ArrayBuffer(65536);

// readAll returns all of stdin.
function readAll(): string {
  let text = new Uint8Array(0);
  for (;;) {
    const n = process.stdin.read(chunk);
    if (n <= 0) break;
    const longer = new Uint8Array(text.length + <i32>n);
    longer.set(text);
    longer.set(Uint8Array.wrap(chunk, 0, <i32>n), text.length);
    text = longer;
  }
  return String.UTF8.decode(text.buffer);
}

// refuse ends the transform: this is not the state that it knows.
function refuse(why: string): void {
  process.stderr.write(why + "\n");
  process.exit(2);
}

// number has at most so many digits: three more in milliseconds, so that there
// is a way back.
function number(value: string, digits: i32): i64 {
  if (value.length == 0 || value.length > digits) refuse("no interval: " + value);
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c < 0x30 || c > 0x39) refuse("no interval: " + value);
  }
  return I64.parseInt(value);
}

const args = process.argv;
if (args.length < 3) refuse("usage: transform FROM TO FILE <old >new");
const way = args[1] + " " + args[2];
if (way != "1 2" && way != "2 1") refuse("no way " + way);
const lines = readAll().split("\n");
let found = false;
for (let i = 0; i < lines.length; i++) {
  const line = lines[i];
  if (way == "1 2" && line.startsWith("interval=")) {
    lines[i] = "interval_ms=" + (number(line.substring(9), 9) * 1000).toString();
    found = true;
  } else if (way == "2 1" && line.startsWith("interval_ms=")) {
    const ms = number(line.substring(12), 12);
    if (ms % 1000 != 0) refuse("no whole seconds: " + line);
    lines[i] = "interval=" + (ms / 1000).toString();
    found = true;
  }
}
if (!found) refuse("there is no interval");
process.stdout.write(lines.join("\n"));
