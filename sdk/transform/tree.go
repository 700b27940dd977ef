package transform

import (
	"archive/tar"
	"errors"
	"io"
)

// Tree runs fn on the whole state and exits the process. fn must read in to
// its end and write every file of the new state. Only directories and regular
// files are allowed, with relative names; times and owners are ignored. [Walk]
// reads what comes in, [Keep] and [Put] write.
func Tree(fn func(in *tar.Reader, out *tar.Writer, e Edge) error) { Filter(Archive(fn)) }

// Archive makes a function for [Filter] from one for [Tree].
func Archive(fn func(in *tar.Reader, out *tar.Writer, e Edge) error) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		w := tar.NewWriter(out)
		if err := fn(tar.NewReader(in), w, e); err != nil {
			return err
		}
		return w.Close()
	}
}

// Walk calls fn for each directory and file of a state, in lexical order. The
// name of a directory ends in a slash, and its content is empty. fn need not read
// the content.
func Walk(in *tar.Reader, fn func(header *tar.Header, content io.Reader) error) error {
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(header, in); err != nil {
			return err
		}
	}
}

// Keep writes an entry as [Walk] has found it, or renamed, if its header has
// another name by now.
func Keep(out *tar.Writer, header *tar.Header, content io.Reader) error {
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

// Put writes a file with the permissions mode, as in 0o644. The directories in
// its name need not be there.
func Put(out *tar.Writer, name string, mode int64, content []byte) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}
