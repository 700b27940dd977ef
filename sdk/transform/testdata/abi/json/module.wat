(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $n i32) (local $i i32)
    loop $more
      i32.const 0 i32.const 64 i32.store          ; iovec: buffer 64,
      i32.const 4 i32.const 65536 i32.store       ; 64 KiB
      i32.const 0 i32.const 0 i32.const 1 i32.const 8 call $fd_read drop
      i32.const 8 i32.load local.tee $n
      if
        i32.const 4 local.get $n i32.store
        i32.const 1 i32.const 0 i32.const 1 i32.const 8 call $fd_write drop
        br $more
      end
    end))
