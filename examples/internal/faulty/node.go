package faulty

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A node is a file or directory whose changes may fail.
type node struct {
	*fs.LoopbackNode
	faulty *FS
}

// WrapChild makes what is found below such a node one of them.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: child.(*fs.LoopbackNode), faulty: n.faulty}
}

func (n *node) pass(op Op, name string) syscall.Errno {
	return n.faulty.pass(op, filepath.Join(n.Path(n.Root()), name))
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.pass(Create, name); errno != 0 {
		return nil, nil, 0, errno
	}
	inode, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, veiled(f), fuseFlags, errno
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return veiled(f), fuseFlags, errno
}

// A file is what a loopback file can do but for one thing: the kernel must
// not write to the file behind our back (fs.FilePassthroughFder).
type file struct {
	reading
	writing
}

type reading interface {
	fs.FileReader
	fs.FileLseeker
	fs.FileGetattrer
	fs.FileFlusher
	fs.FileReleaser
}

type writing interface {
	fs.FileWriter
	fs.FileFsyncer
	fs.FileSetattrer
	fs.FileAllocater
}

func veiled(f fs.FileHandle) fs.FileHandle {
	r, reads := f.(reading)
	w, writes := f.(writing)
	if reads && writes {
		return file{r, w}
	}
	return f
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.pass(Create, name); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.pass(Create, name); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Symlink(ctx, target, name, out)
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.pass(Create, name); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Link(ctx, target, name, out)
}

func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if errno := n.pass(Rename, name); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.pass(Remove, name); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if errno := n.pass(Remove, name); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Rmdir(ctx, name)
}

func (n *node) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.pass(Write, ""); errno != 0 {
		return 0, errno
	}
	return f.(fs.FileWriter).Write(ctx, data, off)
}

func (n *node) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if errno := n.pass(Write, ""); errno != 0 {
		return errno
	}
	return f.(fs.FileAllocater).Allocate(ctx, off, size, mode)
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if _, truncates := in.GetSize(); truncates {
		if errno := n.pass(Write, ""); errno != 0 {
			return errno
		}
	}
	return n.LoopbackNode.Setattr(ctx, f, in, out)
}

func (n *node) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.pass(Sync, ""); errno != 0 {
		return errno
	}
	return f.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if open, ok := f.(openDir); ok {
		f = dir{open, n}
	}
	return f, fuseFlags, errno
}

// openDir is all that a loopback directory can do.
type openDir interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// A dir is an open directory.
type dir struct {
	openDir
	node *node
}

func (d dir) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := d.node.pass(Sync, ""); errno != 0 {
		return errno
	}
	return d.openDir.Fsyncdir(ctx, flags)
}
