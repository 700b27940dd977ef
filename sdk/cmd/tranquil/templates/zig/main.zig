//! A state transform: settings.conf of schema 1 has interval=SECONDS, that of
//! schema 2 has interval_ms=MILLISECONDS. All else stays as it is, byte by byte.
//! It calls WASI itself, since Zig's own input and output change from release to
//! release.
const std = @import("std");

const Part = extern struct { base: [*]const u8, len: usize };
extern "wasi_snapshot_preview1" fn fd_read(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn fd_write(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn args_sizes_get(count: *usize, size: *usize) u16;
extern "wasi_snapshot_preview1" fn args_get(args: [*][*:0]u8, text: [*]u8) u16;
extern "wasi_snapshot_preview1" fn proc_exit(code: u32) noreturn;

var window: [1 << 20]u8 = undefined; // what was read and not yet returned is from begin to end
var begin: usize = 0;
var end: usize = 0;

/// Returns the next line with its end, which the last one may lack.
fn nextLine() ?[]const u8 {
    while (true) {
        if (std.mem.indexOfScalar(u8, window[begin..end], '\n')) |length| {
            const line = window[begin .. begin + length + 1];
            begin += line.len;
            return line;
        }
        std.mem.copyForwards(u8, &window, window[begin..end]);
        end -= begin;
        begin = 0;
        if (end == window.len) refuse("a line is too long");
        const part = Part{ .base = window[end..].ptr, .len = window.len - end };
        var got: usize = 0;
        if (fd_read(0, &part, 1, &got) != 0) proc_exit(1);
        if (got == 0) {
            begin = end;
            return if (end > 0) window[0..end] else null;
        }
        end += got;
    }
}

fn write(fd: u32, text: []const u8) void {
    var rest = text;
    while (rest.len > 0) {
        const part = Part{ .base = rest.ptr, .len = rest.len };
        var got: usize = 0;
        if (fd_write(fd, &part, 1, &got) != 0) proc_exit(1);
        rest = rest[got..];
    }
}

/// Ends the transform: this is not the state that it knows.
fn refuse(why: []const u8) noreturn {
    write(2, why);
    write(2, "\n");
    proc_exit(2);
}

var output: [1 << 16]u8 = undefined;
var filled: usize = 0;

fn put(text: []const u8) void {
    if (text.len > output.len - filled) flush();
    if (text.len > output.len) return write(1, text);
    @memcpy(output[filled..][0..text.len], text);
    filled += text.len;
}

fn flush() void {
    write(1, output[0..filled]);
    filled = 0;
}

/// Returns a number in decimal, which lasts until the next.
fn decimal(n: u64) []const u8 {
    return std.fmt.bufPrint(&digits, "{d}", .{n}) catch unreachable;
}

var digits: [20]u8 = undefined;

/// An interval in seconds: what has more has no way back.
const longest: u64 = 1_000_000_000;

/// Refuses "+7" and "07" as well: they would come back as 7.
fn number(value: []const u8, most: u64) u64 {
    const n = std.fmt.parseInt(u64, value, 10) catch refuse("no interval");
    if (n > most or !std.mem.eql(u8, decimal(n), value)) refuse("no interval");
    return n;
}

/// Returns whether this is the way 1 to 2; 2 to 1 is the other one.
fn isUp() bool {
    var count: usize = 0;
    var size: usize = 0;
    if (args_sizes_get(&count, &size) != 0) proc_exit(1);
    var args: [16][*:0]u8 = undefined;
    var text: [4096]u8 = undefined;
    if (count < 3 or count > args.len or size > text.len) refuse("usage: transform FROM TO FILE <old >new");
    if (args_get(&args, &text) != 0) proc_exit(1);
    const from = std.mem.span(args[1]);
    const to = std.mem.span(args[2]);
    if (std.mem.eql(u8, from, "1") and std.mem.eql(u8, to, "2")) return true;
    if (std.mem.eql(u8, from, "2") and std.mem.eql(u8, to, "1")) return false;
    refuse("no such way");
}

pub fn main() void {
    const up = isUp();
    var found = false;
    while (nextLine()) |line| {
        const text = if (line[line.len - 1] == '\n') line[0 .. line.len - 1] else line;
        if (up and std.mem.startsWith(u8, text, "interval=")) {
            put("interval_ms=");
            put(decimal(number(text[9..], longest) * 1000));
            put(line[text.len..]);
            found = true;
        } else if (!up and std.mem.startsWith(u8, text, "interval_ms=")) {
            const ms = number(text[12..], longest * 1000);
            if (ms % 1000 != 0) refuse("no whole seconds");
            put("interval=");
            put(decimal(ms / 1000));
            put(line[text.len..]);
            found = true;
        } else {
            put(line);
        }
    }
    if (!found) refuse("there is no interval");
    flush();
}
