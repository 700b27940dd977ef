(module
  (memory (export "memory") 2)
  (func (export "_start")
    loop $grow                                    ; until there is no more
      i32.const 16 memory.grow i32.const -1 i32.ne br_if $grow
    end
    unreachable))
