"""Real code in large amounts: is it checked and repaired without a crash, and is no file harmed?"""
