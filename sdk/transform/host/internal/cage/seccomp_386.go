package cage

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_I386

var (
	more = []uint32{
		unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_EPOLL_WAIT, unix.SYS__LLSEEK, unix.SYS_FSTAT64,
		unix.SYS_FUTEX_TIME64, unix.SYS_CLOCK_GETTIME64, unix.SYS_CLOCK_NANOSLEEP_TIME64, unix.SYS_SIGRETURN, unix.SYS_SET_THREAD_AREA,
	}
	moreMaps  = []uint32{unix.SYS_MMAP2}
	moreFcntl = []uint32{unix.SYS_FCNTL64}
	// What socketcall may be asked for: sendmsg and recvmsg, see net.h.
	socketCalls = []uint32{16, 17}
)

const socketCall = unix.SYS_SOCKETCALL
