(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    loop $more
      i32.const 0 i32.const 64 i32.store
      i32.const 4 i32.const 65536 i32.store
      i32.const 0 i32.const 0 i32.const 1 i32.const 8 call $fd_read drop
      i32.const 8 i32.load br_if $more
    end
    i32.const 16 i32.const 20 call $args_sizes_get drop
    i32.const 1024 i32.const 2048 call $args_get drop
    i32.const 0 i32.const 2048 i32.store
    i32.const 4 i32.const 20 i32.load i32.store
    i32.const 1 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop))
