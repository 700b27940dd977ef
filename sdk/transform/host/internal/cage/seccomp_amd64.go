package cage

import "golang.org/x/sys/unix"

// arch is part of every call. That of x32 is the same, its numbers are others.
const arch = unix.AUDIT_ARCH_X86_64

var (
	more        = []uint32{unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_EPOLL_WAIT, unix.SYS_ARCH_PRCTL}
	moreMaps    = []uint32{unix.SYS_MMAP}
	moreFcntl   []uint32
	socketCalls []uint32
)

const socketCall = 0
