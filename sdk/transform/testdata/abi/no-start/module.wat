(module
  (memory (export "memory") 2)
  (func $main (export "main")))
