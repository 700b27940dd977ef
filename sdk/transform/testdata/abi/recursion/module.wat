(module
  (memory (export "memory") 2)
  (func $down (export "_start")
    call $down))
