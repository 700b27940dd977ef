(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    loop $more
      i32.const 0 i32.const 64 i32.store
      i32.const 4 i32.const 65536 i32.store
      i32.const 0 i32.const 0 i32.const 1 i32.const 8 call $fd_read drop
      i32.const 8 i32.load br_if $more
    end
    nop))
