//! A state transform in Zig: the history of a sensor, from rows in degrees
//! Celsius (schema 1) to columns in Kelvin (schema 2), and back. It calls WASI
//! itself, since Zig's own input and output change from release to release.
const std = @import("std");

const zero_celsius = 273_150; // thousandths of a Kelvin
const limit = 1_000_000_000;
const too_late = 253_402_300_800_000; // the year 10000, in milliseconds since 1970

const Part = extern struct { base: [*]const u8, len: usize };
extern "wasi_snapshot_preview1" fn fd_read(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn fd_write(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn args_sizes_get(count: *usize, size: *usize) u16;
extern "wasi_snapshot_preview1" fn args_get(args: [*][*:0]u8, text: [*]u8) u16;
extern "wasi_snapshot_preview1" fn proc_exit(code: u32) noreturn;

fn write(fd: u32, text: []const u8) void {
    var rest = text;
    while (rest.len > 0) {
        const part = Part{ .base = rest.ptr, .len = rest.len };
        var got: usize = 0;
        if (fd_write(fd, &part, 1, &got) != 0) proc_exit(1);
        rest = rest[got..];
    }
}

fn end(code: u32, comptime format: []const u8, args: anytype) noreturn {
    var text: [200]u8 = undefined;
    write(2, std.fmt.bufPrint(&text, format ++ "\n", args) catch "a long reason\n");
    proc_exit(code);
}

/// Bytes that grow.
const Buffer = struct {
    bytes: []u8 = &.{},
    len: usize = 0,

    fn room(b: *Buffer, n: usize) []u8 {
        if (b.bytes.len - b.len < n) {
            b.bytes = std.heap.wasm_allocator.realloc(b.bytes, @max(2 * b.bytes.len, b.len + n)) catch end(1, "fatal error: out of memory", .{});
        }
        return b.bytes[b.len..];
    }

    fn add(b: *Buffer, text: []const u8) void {
        @memcpy(b.room(text.len)[0..text.len], text);
        b.len += text.len;
    }

    fn print(b: *Buffer, comptime format: []const u8, args: anytype) void {
        const text = std.fmt.bufPrint(b.room(100), format, args) catch unreachable;
        b.len += text.len;
    }

    /// Writes thousandths as a decimal fraction.
    fn milli(b: *Buffer, n: i64) void {
        if (n < 0) b.add("-");
        const whole: u64 = @abs(n);
        b.print("{d}", .{whole / 1000});
        var rest = whole % 1000;
        if (rest == 0) return;
        b.add(".");
        while (rest > 0) : (rest = rest % 100 * 10) b.print("{d}", .{rest / 100});
    }

    fn all(b: Buffer) []u8 {
        return b.bytes[0..b.len];
    }
};

/// Reads JSON of which it knows the order of members.
const Scanner = struct {
    text: []const u8,
    at: usize = 0,

    /// Ends the transform: this is not the state that it knows.
    fn refuse(s: *Scanner, why: []const u8) noreturn {
        end(2, "byte {d}: {s}", .{ s.at, why });
    }

    fn peek(s: *Scanner) u8 {
        return if (s.at < s.text.len) s.text[s.at] else 0;
    }

    /// Passes over white space and, if it follows, over a token.
    fn next(s: *Scanner, token: []const u8) bool {
        while (std.mem.indexOfScalar(u8, " \n\t\r", s.peek()) != null) s.at += 1;
        const follows = std.mem.startsWith(u8, s.text[s.at..], token);
        if (follows) s.at += token.len;
        return follows;
    }

    fn expect(s: *Scanner, tokens: []const []const u8) void {
        for (tokens) |token| {
            if (!s.next(token)) end(2, "byte {d}: expected {s}", .{ s.at, token });
        }
    }

    fn isDigit(s: *Scanner) bool {
        return s.peek() >= '0' and s.peek() <= '9';
    }

    /// Reads a number below a bound; count becomes how many digits it has.
    fn digits(s: *Scanner, bound: i64, count: *usize) i64 {
        var n: i64 = 0;
        count.* = 0;
        while (s.isDigit()) : (s.at += 1) {
            n = n * 10 + (s.peek() - '0');
            if (n >= bound) s.refuse("too large a number");
            count.* += 1;
        }
        if (count.* == 0) s.refuse("expected a number");
        return n;
    }

    fn natural(s: *Scanner, bound: i64) i64 {
        _ = s.next("");
        var count: usize = 0;
        return s.digits(bound, &count);
    }

    /// Reads a decimal fraction as thousandths.
    fn milli(s: *Scanner) i64 {
        const sign: i64 = if (s.next("-")) -1 else 1;
        var count: usize = 0;
        var n = s.digits(limit, &count) * 1000;
        if (s.peek() == '.') {
            s.at += 1;
            var fraction = s.digits(limit, &count);
            if (count > 3) s.refuse("more than three decimals");
            while (count < 3) : (count += 1) fraction *= 10;
            n += fraction;
        }
        if (s.peek() == 'e' or s.peek() == 'E') s.refuse("a number with an exponent");
        return sign * n;
    }

    fn part(s: *Scanner, length: usize, after: u8) i64 {
        var n: i64 = 0;
        for (0..length) |_| {
            if (!s.isDigit()) s.refuse("no time since 1970");
            n = n * 10 + (s.peek() - '0');
            s.at += 1;
        }
        if (s.peek() != after) s.refuse("no time since 1970");
        s.at += 1;
        return n;
    }

    /// Reads a time as in 2026-11-29T08:00:00.000Z.
    fn millis(s: *Scanner) i64 {
        s.expect(&.{"\""});
        const date = Date{ .year = s.part(4, '-'), .month = s.part(2, '-'), .day = s.part(2, 'T') };
        const hour = s.part(2, ':');
        const minute = s.part(2, ':');
        const second = s.part(2, '.');
        const ms = s.part(3, 'Z');
        if (date.year < 1970 or date.month < 1 or date.month > 12 or hour > 23 or minute > 59 or second > 59) s.refuse("no time since 1970");
        const days = date.days();
        if (!std.meta.eql(dateOf(days), date)) s.refuse("no time since 1970");
        s.expect(&.{"\""});
        return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms;
    }

    fn toColumns(s: *Scanner, out: *Buffer) void {
        var kelvin = Buffer{};
        var times = Buffer{};
        var first: i64 = 0;
        var count: i64 = 0;
        s.expect(&.{"["});
        while (true) {
            s.expect(&.{ "{", "\"seq\"", ":" });
            const seq = s.natural(limit);
            s.expect(&.{ ",", "\"time\"", ":" });
            const at = s.millis();
            s.expect(&.{ ",", "\"celsius\"", ":" });
            const celsius = s.milli();
            s.expect(&.{"}"});
            if (count == 0) {
                first = seq;
            } else {
                kelvin.add(",");
                times.add(",");
            }
            if (seq != first + count) s.refuse("a reading is missing");
            kelvin.milli(celsius + zero_celsius);
            times.print("{d}", .{@as(u64, @intCast(at))});
            count += 1;
            if (!s.next(",")) break;
        }
        s.expect(&.{"]"});
        out.print("{{\"unit\":\"K\",\"first\":{d},\"kelvin\":[", .{@as(u64, @intCast(first))});
        out.add(kelvin.all());
        out.add("],\"time\":[");
        out.add(times.all());
        out.add("]}\n");
    }

    fn toRows(s: *Scanner, out: *Buffer) void {
        s.expect(&.{ "{", "\"unit\"", ":", "\"K\"", ",", "\"first\"", ":" });
        var seq = s.natural(limit);
        s.expect(&.{ ",", "\"kelvin\"", ":", "[" });
        var kelvin = Scanner{ .text = s.text, .at = s.at }; // reads them again, beside the times
        _ = s.milli();
        while (s.next(",")) _ = s.milli();
        const behind = s.at;
        s.expect(&.{ "]", ",", "\"time\"", ":", "[" });
        out.add("[");
        while (true) {
            const celsius = kelvin.milli() - zero_celsius;
            const at = s.natural(too_late);
            const date = dateOf(@divFloor(at, 86_400_000));
            const ms: u64 = @intCast(@mod(at, 86_400_000));
            out.print("{{\"seq\":{d},\"time\":\"{d:0>4}-{d:0>2}-{d:0>2}T", .{
                @as(u64, @intCast(seq)), @as(u64, @intCast(date.year)), @as(u64, @intCast(date.month)), @as(u64, @intCast(date.day)),
            });
            out.print("{d:0>2}:{d:0>2}:{d:0>2}.{d:0>3}Z\",\"celsius\":", .{ ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000 });
            out.milli(celsius);
            out.add("}");
            seq += 1;
            if (!kelvin.next(",")) break;
            s.expect(&.{","});
            out.add(",");
        }
        if (kelvin.at != behind) s.refuse("a reading is missing");
        s.expect(&.{ "]", "}" });
        out.add("]\n");
    }
};

const Date = struct {
    year: i64,
    month: i64,
    day: i64,

    /// Returns the days since 1970. Years begin in March, so that leap days end them.
    fn days(d: Date) i64 {
        const y = if (d.month <= 2) d.year - 1 else d.year;
        const m = @mod(d.month + 9, 12);
        return y * 365 + @divFloor(y, 4) - @divFloor(y, 100) + @divFloor(y, 400) + @divFloor(m * 153 + 2, 5) + d.day - 1 - 719_468;
    }
};

fn dateOf(days: i64) Date {
    const z = days + 719_468;
    const era = @divFloor(z, 146_097);
    const doe = z - era * 146_097;
    const yoe = @divFloor(doe - @divFloor(doe, 1460) + @divFloor(doe, 36_524) - @divFloor(doe, 146_096), 365);
    const doy = doe - (365 * yoe + @divFloor(yoe, 4) - @divFloor(yoe, 100));
    const m = @divFloor(5 * doy + 2, 153);
    const month = if (m < 10) m + 3 else m - 9;
    return .{ .year = yoe + era * 400 + @intFromBool(month <= 2), .month = month, .day = doy - @divFloor(153 * m + 2, 5) + 1 };
}

fn readAll() []const u8 {
    var input = Buffer{};
    while (true) {
        const room = input.room(1 << 16);
        const part = Part{ .base = room.ptr, .len = room.len };
        var got: usize = 0;
        if (fd_read(0, &part, 1, &got) != 0) proc_exit(1);
        if (got == 0) return input.all();
        input.len += got;
    }
}

/// Returns whether this is the way 1 to 2; 2 to 1 is the other one.
fn isUp() bool {
    var count: usize = 0;
    var size: usize = 0;
    if (args_sizes_get(&count, &size) != 0) proc_exit(1);
    var args: [16][*:0]u8 = undefined;
    var text: [4096]u8 = undefined;
    if (count < 3 or count > args.len or size > text.len) end(2, "usage: transform FROM TO FILE <old >new", .{});
    if (args_get(&args, &text) != 0) proc_exit(1);
    const from = std.mem.span(args[1]);
    const to = std.mem.span(args[2]);
    if (std.mem.eql(u8, from, "1") and std.mem.eql(u8, to, "2")) return true;
    if (std.mem.eql(u8, from, "2") and std.mem.eql(u8, to, "1")) return false;
    end(2, "this transform knows no such way", .{});
}

pub fn main() void {
    const up = isUp();
    var s = Scanner{ .text = readAll() };
    var out = Buffer{};
    if (up) s.toColumns(&out) else s.toRows(&out);
    _ = s.next("");
    if (s.at < s.text.len) s.refuse("something follows");
    write(1, out.all());
}
