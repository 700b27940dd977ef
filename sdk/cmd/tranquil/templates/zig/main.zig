//! A state transform: settings.conf of schema 1 has interval=SECONDS, that of
//! schema 2 has interval_ms=MILLISECONDS. It calls WASI itself, since Zig's
//! own input and output change from release to release.
const std = @import("std");

const Part = extern struct { base: [*]const u8, len: usize };
extern "wasi_snapshot_preview1" fn fd_read(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn fd_write(fd: u32, parts: *const Part, count: usize, got: *usize) u16;
extern "wasi_snapshot_preview1" fn args_sizes_get(count: *usize, size: *usize) u16;
extern "wasi_snapshot_preview1" fn args_get(args: [*][*:0]u8, text: [*]u8) u16;
extern "wasi_snapshot_preview1" fn proc_exit(code: u32) noreturn;

var input: [1 << 20]u8 = undefined;
var output: [2 << 20]u8 = undefined;
var written: usize = 0;

fn readAll() []u8 {
    var n: usize = 0;
    while (n < input.len) {
        const part = Part{ .base = input[n..].ptr, .len = input.len - n };
        var got: usize = 0;
        if (fd_read(0, &part, 1, &got) != 0) proc_exit(1);
        if (got == 0) return input[0..n];
        n += got;
    }
    refuse("the file is too long");
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

fn put(comptime format: []const u8, args: anytype) void {
    const text = std.fmt.bufPrint(output[written..], format, args) catch refuse("the file is too long");
    written += text.len;
}

/// An interval in seconds: what has more has no way back.
const longest: u64 = 1_000_000_000;

fn number(value: []const u8, most: u64) u64 {
    const n = std.fmt.parseInt(u64, value, 10) catch refuse("no interval");
    if (n > most) refuse("no interval");
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
    var rest: []const u8 = readAll();
    while (rest.len > 0) {
        const end = std.mem.indexOfScalar(u8, rest, '\n') orelse rest.len;
        const line = rest[0..end];
        rest = rest[@min(end + 1, rest.len)..];
        if (up and std.mem.startsWith(u8, line, "interval=")) {
            put("interval_ms={d}\n", .{number(line[9..], longest) * 1000});
            found = true;
        } else if (!up and std.mem.startsWith(u8, line, "interval_ms=")) {
            const ms = number(line[12..], longest * 1000);
            if (ms % 1000 != 0) refuse("no whole seconds");
            put("interval={d}\n", .{ms / 1000});
            found = true;
        } else {
            put("{s}\n", .{line});
        }
    }
    if (!found) refuse("there is no interval");
    write(1, output[0..written]);
}
