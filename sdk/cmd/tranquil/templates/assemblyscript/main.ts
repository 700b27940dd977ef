// A state transform: settings.conf of schema 1 has interval=SECONDS, that of
// schema 2 has interval_ms=MILLISECONDS. All else stays as it is, byte by byte.

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
  const decoded = String.UTF8.decode(text.buffer);
  // What is no UTF-8 would not come back.
  const again = Uint8Array.wrap(String.UTF8.encode(decoded));
  let same = again.length == text.length;
  for (let i = 0; same && i < text.length; i++) same = again[i] == text[i];
  if (!same) refuse("the file is no UTF-8");
  return decoded;
}

// refuse ends the transform: this is not the state that it knows.
function refuse(why: string): void {
  process.stderr.write(why + "\n");
  process.exit(2);
}

// number has at most so many digits: three more in milliseconds, so that there
// is a way back. It refuses "+7" and "07" as well: they would come back as 7.
function number(value: string, digits: i32): i64 {
  const n = value.length <= digits ? I64.parseInt(value) : -1;
  if (n < 0 || n.toString() != value) refuse("no interval: " + value);
  return n;
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
