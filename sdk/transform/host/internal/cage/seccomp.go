package cage

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in what a filter sees of a call, see seccomp(2). Arguments have 64
// bits; all processors here are little endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// common are the system calls of a Go program that reads and writes the files
// it has, on every processor.
var common = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_BRK, unix.SYS_MREMAP, unix.SYS_MINCORE,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_GETRANDOM, unix.SYS_MEMBARRIER,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_UNAME,
}

// fcntls are what a file descriptor may be asked for. By others signals are sent to
// any process of the same user, and files locked that its owner is working with.
var fcntls = []uint32{unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL}

// maps are the calls that map memory; their third argument is the protection.
var maps = append([]uint32{unix.SYS_MPROTECT}, moreMaps...)

// A program under construction. Jumps are short, so each rule returns itself.
type program []unix.SockFilter

func (p *program) add(code uint16, k uint32, jt, jf uint8) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

func (p *program) load(offset uint32)   { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (p *program) answer(action uint32) { p.add(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

const (
	permit = uint32(unix.SECCOMP_RET_ALLOW)
	refuse = uint32(unix.SECCOMP_RET_ERRNO | unix.EPERM)
	unborn = uint32(unix.SECCOMP_RET_ERRNO | unix.ENOSYS)
)

// on answers one call.
func (p *program) on(call, action uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, call, 0, 1)
	p.answer(action)
}

// onArg permits a call if a comparison of the low half of an argument holds.
func (p *program) onArg(call uint32, arg int, comparison uint16, k uint32, yes, no uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, call, 0, 4)
	p.load(offsetArgs + 8*uint32(arg))
	p.add(unix.BPF_JMP|comparison|unix.BPF_K, k, 0, 1)
	p.answer(yes)
	p.answer(no)
}

// onArgs permits a call if the low half of an argument is one of few values.
func (p *program) onArgs(call uint32, arg int, values []uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, call, 0, uint8(2+2*len(values)))
	p.load(offsetArgs + 8*uint32(arg))
	for _, v := range values {
		p.on(v, permit)
	}
	p.answer(refuse)
}

// filterFor is the filter of a process.
func filterFor(pid int) program {
	var p program
	p.load(offsetArch)
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, arch, 1, 0)
	p.answer(unix.SECCOMP_RET_KILL_PROCESS)
	p.load(offsetNumber)
	for _, call := range common {
		p.on(call, permit)
	}
	for _, call := range more {
		p.on(call, permit)
	}
	for _, call := range maps { // nothing new becomes code
		p.onArg(call, 2, unix.BPF_JSET, unix.PROT_EXEC, refuse, permit)
	}
	for _, call := range append([]uint32{unix.SYS_FCNTL}, moreFcntl...) {
		p.onArgs(call, 1, fcntls)
	}
	p.onArg(unix.SYS_CLONE, 0, unix.BPF_JSET, unix.CLONE_THREAD, permit, refuse)
	p.on(unix.SYS_CLONE3, unborn) // its flags cannot be seen; C libraries then take clone
	p.onArg(unix.SYS_TGKILL, 0, unix.BPF_JEQ, uint32(pid), permit, refuse)
	p.onArg(unix.SYS_PRLIMIT64, 0, unix.BPF_JEQ, 0, permit, refuse)
	if len(socketCalls) > 0 {
		p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, socketCall, 1, 0)
		p.answer(refuse)
		p.load(offsetArgs)
		for _, number := range socketCalls {
			p.on(number, permit)
		}
	}
	p.answer(refuse)
	return p
}

// filter lays the filter on all threads.
func filter() error {
	p := filterFor(os.Getpid())
	program := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno == unix.EINVAL {
		return errAbsent
	}
	return absent(errno)
}
