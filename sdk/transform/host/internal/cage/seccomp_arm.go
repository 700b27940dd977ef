package cage

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_ARM

// Calls of the processor's own range, see arch/arm/include/uapi/asm/unistd.h.
const (
	armCacheFlush = 0x0f0002
	armSetTLS     = 0x0f0005
)

var (
	more = []uint32{
		unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_EPOLL_WAIT, unix.SYS__LLSEEK, unix.SYS_FSTAT64,
		unix.SYS_FUTEX_TIME64, unix.SYS_CLOCK_GETTIME64, unix.SYS_CLOCK_NANOSLEEP_TIME64, unix.SYS_SIGRETURN, armCacheFlush, armSetTLS,
	}
	moreMaps    = []uint32{unix.SYS_MMAP2}
	moreFcntl   = []uint32{unix.SYS_FCNTL64}
	socketCalls []uint32
)

const socketCall = 0
