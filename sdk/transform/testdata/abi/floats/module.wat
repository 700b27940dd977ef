(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    loop $more
      i32.const 0 i32.const 64 i32.store
      i32.const 4 i32.const 65536 i32.store
      i32.const 0 i32.const 0 i32.const 1 i32.const 8 call $fd_read drop
      i32.const 8 i32.load br_if $more
    end
    i32.const 2048 f64.const 2 f64.sqrt f64.store
    i32.const 2056 f64.const 1 f64.const 3 f64.div f64.store
    i32.const 2064 f64.const 0.1 f64.const 0.2 f64.add f64.store
    i32.const 0 i32.const 2048 i32.store
    i32.const 4 i32.const 24 i32.store
    i32.const 1 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop))
