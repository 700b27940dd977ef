/* Faulty gives each line of notes.conf a prefix, copies notes.json, and takes
   the prefix away again on the way back. On the way up it has one of the faults
   that authors overlook, since no example shows them, by its param. It is here
   as Wasm as well, as gauge is; made by
   clang --target=wasm32-wasi -Os -s -o faulty.wasm main.c */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char in[1 << 20], line[1 << 20], before[1 << 20];
static const char *fault = "";

static int is(const char *name) { return strcmp(fault, name) == 0; }

/* wrong changes a line in place. */
static void wrong(char *s) {
	char *limit = strstr(s, "=43\n");
	if (is("limit") && limit != NULL) /* the example has 42 */
		limit[2] = '2';
	for (; *s; s++) {
		if (is("unicode") && (*s & 0x80))
			*s = '?';
		if ((is("large") || is("digits")) && isdigit((unsigned char)*s)) {
			size_t n = strspn(s, "0123456789");
			if (n > (is("large") ? 9 : 15))
				s[n - 1] = s[n - 1] == '0' ? '1' : '0';
			s += n - 1;
		}
	}
}

/* document copies JSON, if it is there. */
static int document(void) {
	if (strchr(in, '{') == NULL) {
		fputs("there is no document\n", stderr);
		return 2;
	}
	wrong(in);
	fputs(is("order") && strncmp(in, "{\"id\":", 6) != 0 ? "{}" : in, stdout);
	return 0;
}

/* lines handles them one by one. */
static int lines(int up) {
	if (is("empty") && in[0] == '\0')
		__builtin_trap();
	for (char *at = in; *at;) {
		size_t n = strcspn(at, "\n");
		int ends = at[n] == '\n';
		memcpy(line, at, n + ends);
		line[n + ends] = '\0';
		at += n + ends;
		int twice = strcmp(line, before) == 0;
		strcpy(before, line);
		if ((is("last line") && !ends) || (is("twice") && twice) || (is("blank") && n == 0))
			continue;
		if (is("end") && !ends)
			strcat(line, "\n");
		if (is("return") && ends && n > 0 && line[n - 1] == '\r')
			strcpy(line + n - 1, "\n");
		if (is("long") && n > 1 << 16)
			strcpy(line + (1 << 16), "\n");
		if (is("mark") && strncmp(line, "\xEF\xBB\xBF", 3) == 0)
			memmove(line, line + 3, strlen(line + 3) + 1);
		if (is("space") && ends && n > 0 && line[n - 1] == ' ')
			strcpy(line + n - 1, "\n");
		if (is("sign") && strchr(line, '+') != NULL)
			memmove(strchr(line, '+'), strchr(line, '+') + 1, strlen(strchr(line, '+')));
		if (is("zero") && strstr(line, "-0") != NULL)
			memmove(strstr(line, "-0"), strstr(line, "-0") + 1, strlen(strstr(line, "-0")));
		wrong(line);
		if (!up && strncmp(line, "2 ", 2) != 0) {
			fputs("a line without 2\n", stderr);
			return 2;
		}
		fputs(up ? "2 " : "", stdout);
		fputs(up ? line : line + 2, stdout);
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 4)
		return 1;
	int up = atoi(argv[1]) == 1;
	if (up && getenv("PARAM_FAULT") != NULL)
		fault = getenv("PARAM_FAULT");
	in[fread(in, 1, sizeof in - 1, stdin)] = '\0';
	return strstr(argv[3], ".json") != NULL ? document() : lines(up);
}
