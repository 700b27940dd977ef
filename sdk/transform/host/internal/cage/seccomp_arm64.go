package cage

import "golang.org/x/sys/unix"

const arch = unix.AUDIT_ARCH_AARCH64

var (
	more        = []uint32{unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN}
	moreMaps    = []uint32{unix.SYS_MMAP}
	moreFcntl   []uint32
	socketCalls []uint32
)

const socketCall = 0
