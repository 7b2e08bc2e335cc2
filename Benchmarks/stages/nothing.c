/* nothing: a program whose processor time is that of its start. It is linked in several ways. */
int main(void) { return 0; }
