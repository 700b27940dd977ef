// A state transform in AssemblyScript: the history of a sensor, from rows in
// degrees Celsius (schema 1) to columns in Kelvin (schema 2), and back.

const ZERO_CELSIUS: i64 = 273150; // thousandths of a Kelvin
const LIMIT: i64 = 1000000000;
const TOO_LATE: i64 = 253402300800000; // the year 10000, in milliseconds since 1970

let text = new Uint8Array(0);
let at = 0;
const out: Buffer = new Buffer();

// refuse ends the transform: this is not the state that it knows.
function refuse(why: string): void {
  process.stderr.write("byte " + at.toString() + ": " + why + "\n");
  process.exit(2);
}

// A Buffer grows.
class Buffer {
  data: Uint8Array = new Uint8Array(65536);
  size: i32 = 0;

  byte(c: i32): void {
    if (this.size == this.data.length) {
      const longer = new Uint8Array(this.size * 2);
      longer.set(this.data);
      this.data = longer;
    }
    unchecked(this.data[this.size++] = <u8>c);
  }

  text(s: string): void {
    for (let i = 0; i < s.length; i++) this.byte(s.charCodeAt(i));
  }

  append(b: Buffer): void {
    for (let i = 0; i < b.size; i++) this.byte(b.data[i]);
  }

  // digits writes a number with at least so many digits.
  digits(n: i64, least: i32): void {
    let power: i64 = 1;
    while (least > 1 || n / power >= 10) {
      power *= 10;
      least--;
    }
    for (; power > 0; power /= 10) this.byte(<i32>((n / power) % 10) + 0x30);
  }

  // milli writes thousandths as a decimal fraction.
  milli(n: i64): void {
    if (n < 0) {
      this.byte(0x2d);
      n = -n;
    }
    this.digits(n / 1000, 1);
    n %= 1000;
    if (n == 0) return;
    this.byte(0x2e);
    this.digits(n, 3);
    while (this.data[this.size - 1] == 0x30) this.size--;
  }
}

function peek(): i32 {
  return at < text.length ? unchecked(text[at]) : -1;
}

// next passes over white space and, if it follows, over a token.
function next(token: string): bool {
  for (let c = peek(); c == 0x20 || c == 0x0a || c == 0x09 || c == 0x0d; c = peek()) at++;
  if (text.length - at < token.length) return false;
  for (let i = 0; i < token.length; i++) if (text[at + i] != token.charCodeAt(i)) return false;
  at += token.length;
  return true;
}

function expect(token: string): void {
  if (!next(token)) refuse("expected " + token);
}

let count = 0; // digits that were read last

function digits(limit: i64): i64 {
  let n: i64 = 0;
  count = 0;
  for (let c = peek(); c >= 0x30 && c <= 0x39; c = peek()) {
    n = n * 10 + (c - 0x30);
    if (n >= limit) refuse("too large a number");
    at++;
    count++;
  }
  if (count == 0) refuse("expected a number");
  return n;
}

function natural(limit: i64): i64 {
  next("");
  return digits(limit);
}

function milli(): i64 {
  const sign: i64 = next("-") ? -1 : 1;
  let n = digits(LIMIT) * 1000;
  if (peek() == 0x2e) {
    at++;
    let fraction = digits(LIMIT);
    if (count > 3) refuse("more than three decimals");
    for (; count < 3; count++) fraction *= 10;
    n += fraction;
  }
  if (peek() == 0x65 || peek() == 0x45) refuse("a number with an exponent");
  return sign * n;
}

// Days since 1970 and back, by Howard Hinnant's algorithms.
function daysFrom(y: i64, m: i64, d: i64): i64 {
  if (m <= 2) y--;
  const era = y / 400, year = y - era * 400;
  const day = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

let year: i64 = 0, month: i64 = 0, day: i64 = 0;

function setDate(days: i64): void {
  days += 719468;
  const era = days / 146097, rest = days - era * 146097;
  const y = (rest - rest / 1460 + rest / 36524 - rest / 146096) / 365;
  const ofYear = rest - (365 * y + y / 4 - y / 100);
  const m = (5 * ofYear + 2) / 153;
  day = ofYear - (153 * m + 2) / 5 + 1;
  month = m < 10 ? m + 3 : m - 9;
  year = y + era * 400 + (month <= 2 ? 1 : 0);
}

function part(n: i32, after: string): i64 {
  for (let i = 0; i < n; i++) if (text.length <= at + i || text[at + i] < 0x30 || text[at + i] > 0x39) refuse("no time since 1970");
  let value: i64 = 0;
  for (let i = 0; i < n; i++) value = value * 10 + (text[at++] - 0x30);
  if (peek() != after.charCodeAt(0)) refuse("no time since 1970");
  at++;
  return value;
}

// millis reads a time as in 2026-11-29T08:00:00.000Z.
function millis(): i64 {
  expect('"');
  const y = part(4, "-"), m = part(2, "-"), d = part(2, "T"), h = part(2, ":"), min = part(2, ":"), s = part(2, "."), ms = part(3, "Z");
  if (y < 1970 || m < 1 || m > 12 || d < 1 || h > 23 || min > 59 || s > 59) refuse("no time since 1970");
  const days = daysFrom(y, m, d);
  setDate(days);
  if (month != m || day != d) refuse("no time since 1970");
  expect('"');
  return (((days * 24 + h) * 60 + min) * 60 + s) * 1000 + ms;
}

function putTime(ms: i64): void {
  setDate(ms / 86400000);
  const s = (ms / 1000) % 86400;
  out.digits(year, 4);
  out.byte(0x2d);
  out.digits(month, 2);
  out.byte(0x2d);
  out.digits(day, 2);
  out.byte(0x54);
  out.digits(s / 3600, 2);
  out.byte(0x3a);
  out.digits((s / 60) % 60, 2);
  out.byte(0x3a);
  out.digits(s % 60, 2);
  out.byte(0x2e);
  out.digits(ms % 1000, 3);
  out.byte(0x5a);
}

function toColumns(): void {
  const kelvin = new Buffer(), times = new Buffer();
  let first: i64 = 0, rows: i64 = 0;
  expect("[");
  do {
    expect("{"); expect('"seq"'); expect(":");
    const seq = natural(LIMIT);
    expect(","); expect('"time"'); expect(":");
    const time = millis();
    expect(","); expect('"celsius"'); expect(":");
    const celsius = milli();
    expect("}");
    if (rows == 0) {
      first = seq;
    } else {
      kelvin.byte(0x2c);
      times.byte(0x2c);
    }
    if (seq != first + rows++) refuse("a reading is missing");
    kelvin.milli(celsius + ZERO_CELSIUS);
    times.digits(time, 1);
  } while (next(","));
  expect("]");
  out.text('{"unit":"K","first":');
  out.digits(first, 1);
  out.text(',"kelvin":[');
  out.append(kelvin);
  out.text('],"time":[');
  out.append(times);
  out.text("]}\n");
}

function toRows(): void {
  const kelvin: i64[] = [];
  expect("{"); expect('"unit"'); expect(":"); expect('"K"'); expect(",");
  expect('"first"'); expect(":");
  const first = natural(LIMIT);
  expect(","); expect('"kelvin"'); expect(":"); expect("[");
  do {
    kelvin.push(milli());
  } while (next(","));
  expect("]"); expect(","); expect('"time"'); expect(":"); expect("[");
  out.byte(0x5b);
  for (let i = 0; i < kelvin.length; i++) {
    if (i > 0) {
      expect(",");
      out.byte(0x2c);
    }
    out.text('{"seq":');
    out.digits(first + i, 1);
    out.text(',"time":"');
    putTime(natural(TOO_LATE));
    out.text('","celsius":');
    out.milli(kelvin[i] - ZERO_CELSIUS);
    out.byte(0x7d);
  }
  expect("]"); expect("}");
  out.text("]\n");
}

const chunk = new ArrayBuffer(65536);
const input = new Buffer();
for (let n = <i32>process.stdin.read(chunk); n > 0; n = <i32>process.stdin.read(chunk)) {
  const bytes = Uint8Array.wrap(chunk, 0, n);
  for (let i = 0; i < n; i++) input.byte(bytes[i]);
}
text = input.data.subarray(0, input.size);
const args = process.argv;
const way = args.length < 3 ? "" : args[1] + " " + args[2];
if (way == "1 2") toColumns();
else if (way == "2 1") toRows();
else refuse("no such way");
next("");
if (at < text.length) refuse("something follows");
process.stdout.write(out.data.buffer.slice(0, out.size));
