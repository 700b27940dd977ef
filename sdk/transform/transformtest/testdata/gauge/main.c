/* Gauge is the transform of the kit's tests. It renames a list of numbers:
   1 {"c":[…]} ⇄ 2 {"celsius":[…]} ⇄ 3 {"celsius":[…],"unit":"C"}, and has the
   flaw that its param asks for. It is here as Wasm as well, since a sandbox
   with a module of Go takes long to start under the race detector; made by
   clang --target=wasm32-wasi -Os -s -o gauge.wasm main.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char in[1 << 20], out[1 << 20];

static void refuse(const char *why) {
	fprintf(stderr, "%s\n", why);
	exit(2);
}

/* minify drops white space outside strings. */
static void minify(char *s) {
	int quoted = 0;
	char *to = s;
	for (; *s; s++) {
		if (*s == '"')
			quoted = !quoted;
		if (quoted || !strchr(" \n\t\r", *s))
			*to++ = *s;
		if (quoted && *s == '\\' && s[1])
			*to++ = *++s;
	}
	*to = '\0';
}

/* flaw changes the numbers of the list, or fails. It returns whether one is
   large. */
static int flaw(const char *which, char *list) {
	int whole = 0, large = 0;
	for (char *p = list; *p && *p != ']'; p++) {
		whole = *p >= '0' && *p <= '9' ? whole + 1 : 0;
		large |= whole > 4;
		if (strcmp(which, "panic") == 0 && large)
			__builtin_trap();
		if (strcmp(which, "drift") == 0 && *p >= '0' && *p < '9' && (p[1] == ',' || p[1] == ']'))
			(*p)++;
		if (strcmp(which, "digits") == 0 && *p == '0' && p[-1] == '5' && (p[1] == ',' || p[1] == ']'))
			memmove(p, p + 1, strlen(p));
	}
	return large;
}

int main(int argc, char **argv) {
	if (argc < 3)
		return 1;
	int from = atoi(argv[1]), to = atoi(argv[2]);
	const char *which = getenv("PARAM_FLAW");
	in[fread(in, 1, sizeof in - 1, stdin)] = '\0';
	minify(in);
	const char *old = from == 1 ? "{\"c\":" : "{\"celsius\":";
	if (strncmp(in, old, strlen(old)) != 0)
		refuse(from == 1 ? "there is no c" : "there is no celsius");
	char *list = in + strlen(old), *end = in + strlen(in) - 1;
	if (from == 3) {
		end -= strlen(",\"unit\":\"C\"");
		if (end < list || strcmp(end, ",\"unit\":\"C\"}") != 0)
			refuse("the unit is not C");
	}
	*end = '\0';
	if (!which)
		which = "";
	int large = flaw(which, list);
	int kelvin = from == 1 && (strcmp(which, "detour") == 0 || (strcmp(which, "seldom") == 0 && large));
	const char *unit = kelvin ? ",\"unit\":\"K\"" : ",\"unit\":\"C\"";
	snprintf(out, sizeof out, "%s%s%s}\n", to == 1 ? "{\"c\":" : "{\"celsius\":", list, to == 3 ? unit : "");
	fputs(out, stdout);
	return 0;
}
